"""Where a run took place, as far as it explains its figures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import ssl
from typing import Final

_PACKAGES: Final = (
    "agentwrit", "agentwrit-guard", "authlib", "cryptography", "fastapi", "fastmcp", "flask", "gunicorn", "httptools",
    "httpx", "joserfc", "pyjwt", "starlette", "uvicorn", "uvloop", "werkzeug",
)  # fmt: skip


def described() -> dict[str, object]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "openssl": ssl.OPENSSL_VERSION,
        "load_before": round(os.getloadavg()[0], 2),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"
