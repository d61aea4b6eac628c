"""What a warm decision costs: from 12 request headers to Allowed, against a bare keyed hash and dict lookup.

    python bench/warm_decision.py [--rounds 15] [--calls 20000]

Both sides run in turn in one process, several rounds; medians and their ratio are the result. Logging is off. The
token has 760 bytes; the decision is that of the middleware, and that of a route's template beside it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agentwrit_guard import Allowed, Guard, Lookup, all_of
from agentwrit_guard.asgiscope import authorization
from agentwrit_guard.core.requirements import RouteValue
from agentwrit_guard.core.wire import BrokerReply

TOKEN_BYTES = 760


def make_token(now: int) -> tuple[str, dict[str, Any]]:
    """A token of TOKEN_BYTES: one scope is lengthened until it fits."""
    key = Ed25519PrivateKey.generate()
    for length in range(1, 400):
        claims = {
            "iss": "",
            "sub": "spiffe://agentwrit.local/agent/orch/task/4addb01b452d86c3",
            "exp": now + 300,
            "nbf": now,
            "iat": now,
            "jti": "57cef72249661b21c4979c2acb445d26",
            "scope": ["read:customers:7291", "write:notes:" + "n" * length],
            "task_id": "task",
            "orch_id": "orch",
        }
        head = {"alg": "EdDSA", "typ": "JWT", "kid": "YhXq58Ot6tT48hoGHjcvfN9VSTXfEB8GLtng0gLfhWg"}
        signed = ".".join(_b64(json.dumps(part).encode()) for part in (head, claims))
        token = f"{signed}.{_b64(key.sign(signed.encode()))}"
        if len(token) >= TOKEN_BYTES:
            return token, claims
    raise AssertionError("no scope length gives a token of this size")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def warm(guard: Guard, entries: list[bytes], claims: dict[str, Any]) -> None:
    """Put the identity into the cache as a broker's answer would, without a socket."""
    lookup = guard.decide(entries)
    assert isinstance(lookup, Lookup)
    flow = guard._engine.validation(lookup, guard._clock.now())
    next(flow)
    try:
        body = json.dumps({"valid": True, "claims": claims}).encode()
        flow.send(BrokerReply(200, {"content-type": "application/json"}, body))
    except StopIteration:
        pass


def per_call(function: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)

    token, claims = make_token(int(time.time()))
    value = f"Bearer {token}".encode()
    headers = [(f"x-header-{number}".encode(), b"some value") for number in range(11)]
    scope = {"headers": [*headers, (b"authorization", value)]}
    guard = Guard("http://127.0.0.1:9", cache_ttl=60)
    warm(guard, [value], claims)
    requirement = all_of("read:customers:{customer_id}")
    params = {"customer_id": RouteValue("7291", "7291")}
    key, table = b"k" * 32, {}
    raw = token.encode()
    table[hashlib.blake2b(raw, key=key, digest_size=32).digest()] = object()

    contenders: dict[str, Callable[[], object]] = {
        "bare keyed hash and dict lookup": lambda: table[hashlib.blake2b(raw, key=key, digest_size=32).digest()],
        "warm decision, any agent": lambda: guard.decide(authorization(scope)),
        "warm decision, route template": lambda: guard.decide(authorization(scope), requirement, params),
    }
    for name, function in contenders.items():
        assert name.startswith("bare") or isinstance(function(), Allowed), name
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, function in contenders.items():
            samples[name].append(per_call(function, options.calls))
    guard.close()

    python = f"{platform.python_implementation()} {sys.version.split()[0]} on {platform.machine()}"
    print(f"{python}, token of {len(token)} bytes, 12 headers")
    print(f"median of {options.rounds} rounds of {options.calls} calls")
    base = statistics.median(samples["bare keyed hash and dict lookup"])
    for name, values in samples.items():
        median = statistics.median(values)
        print(f"{name:34} {median:7.2f} us  ({min(values):.2f} to {max(values):.2f})  {median / base:5.2f} x")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
