"""What an import costs, and what the guard's laziness puts off to the first use."""

from __future__ import annotations

import importlib.util
from typing import Final

from bench.effort import Effort
from bench.figures import Figure
from bench.growing.agents import holder
from bench.growing.interpreters import Cost, costs
from bench.report import Section, Target

_OURS: Final = "import agentwrit_guard"
_SDK: Final = "import agentwrit"
_NAMED: Final = "from agentwrit_guard import Guard"
_USED: Final = f"{_NAMED}, a guard and a decision"
_FRONTS: Final = {"fastapi": "fastapi", "starlette": "starlette.applications", "flask": "flask"}
_ALONE: Final = ("asgi", "wsgi", "client")
_NOTES: Final = (
    "interpreters that have just started, in turn, with bytecode; times are taken within, around the statement",
    "MiB: what more of the process is resident after it",
    "a front after its framework: what it adds to a program that has imported the framework already",
    (
        "the root of agentwrit_guard imports a name when it is first asked for: what import saves the first use pays, "
        "so that the import with a guard made and one decision (which ends in a lookup) stands beside it"
    ),
)


def run(effort: Effort) -> Section:
    shown, _ = holder(2, 0)
    use = (
        f"from agentwrit_guard import Guard, Lookup\n"
        f"guard = Guard('https://broker.example.com')\n"
        f"assert isinstance(guard.decide([{shown!r}]), Lookup)"
    )
    fronts = {
        f"agentwrit_guard.contrib.{name} after {name}": [
            f"import {framework}",
            f"import agentwrit_guard.contrib.{name}",
        ]
        for name, framework in list(_FRONTS.items())[: 1 if effort.quick else None]
    }
    alone: dict[str, list[str]] = {}
    if not effort.quick:
        alone = {f"import agentwrit_guard.{name}": [f"import agentwrit_guard.{name}"] for name in _ALONE}
        if importlib.util.find_spec("pytest") is not None:
            fronts["agentwrit_guard.testing after pytest"] = ["import pytest", "import agentwrit_guard.testing"]
    took = costs({_OURS: [_OURS], _SDK: [_SDK], _NAMED: [_NAMED], _USED: [use], **alone, **fronts}, effort)
    return _section(took, list(fronts), effort)


def _section(took: dict[str, tuple[Cost, ...]], fronts: list[str], effort: Effort) -> Section:
    ours, sdk, named, used = (took[name][-1] for name in (_OURS, _SDK, _NAMED, _USED))
    section = Section("Imports", notes=list(_NOTES))
    for name, steps in took.items():
        section.figures += [steps[-1].time, steps[-1].memory]
        if name in fronts:
            framework = name.rpartition(" ")[2]
            section.figures.append(Figure(f"import {framework}", "ms", steps[0].time.rounds))
            section.figures.append(Figure(f"import {framework}", "MiB", steps[0].memory.rounds))
    section.figures += [
        ours.memory.over(sdk.memory, "memory: import agentwrit_guard / import agentwrit"),
        named.time.over(sdk.time, f"{_NAMED} / import agentwrit"),
        used.time.over(sdk.time, f"{_USED} / import agentwrit"),
    ]
    section.targets.append(
        Target(ours.time.over(sdk.time, "import agentwrit_guard / import agentwrit"), "at most", 1 / 3)
    )
    if effort.quick:
        section.notes.append("quick: of the fronts only FastAPI's")
    elif not any("pytest" in name for name in fronts):
        section.notes.append("agentwrit_guard.testing needs pytest, which is not installed here")
    return section
