"""What imports cost in interpreters that have just started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from bench.effort import Effort
from bench.figures import Figure

# In the order of its arguments: each is timed, and what is resident more after it counted.
_CHILD: Final = """
import sys
from time import perf_counter
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])
resident()
taken = []
for statements in sys.argv[1:]:
    code, before, start = compile(statements, "<bench>", "exec"), resident(), perf_counter()
    exec(code)
    taken.append((perf_counter() - start, resident() - before))
import json, resource
print(json.dumps([(seconds * 1e3, pages * resource.getpagesize() / 2**20) for seconds, pages in taken]))
"""


class Cost(NamedTuple):
    time: Figure
    memory: Figure


def costs(contenders: Mapping[str, Sequence[str]], effort: Effort) -> dict[str, tuple[Cost, ...]]:
    """Milliseconds and MiB of statements that run one after the other, of all contenders in turn.

    Bytecode is there: each has run once before.
    """
    names = list(contenders)
    for name in names:
        _run(contenders[name])
    taken: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in names}
    for number in range(effort.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            taken[name].append(_run(contenders[name]))
    return {
        name: tuple(
            Cost(
                Figure(name, "ms", tuple(run[step][0] for run in runs)),
                Figure(name, "MiB", tuple(run[step][1] for run in runs)),
            )
            for step in range(len(contenders[name]))
        )
        for name, runs in taken.items()
    }


def _run(statements: Sequence[str]) -> list[tuple[float, float]]:
    # Isolated: neither the directory it is started in nor the environment adds to what is searched.
    done = subprocess.run(
        [sys.executable, "-I", "-c", _CHILD, *statements], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise SystemExit(f"an import failed: {'; '.join(statements)}\n{done.stderr}")
    return [(seconds, memory) for seconds, memory in json.loads(done.stdout)]
