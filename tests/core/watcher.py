"""A process with a guard of its own on a deny file: `python -m tests.core.watcher FILE TOKEN...`.

For each line on standard input, seconds, it moves the guard's clock so far on and writes a line: 1 for each token that
is refused, 0 for each that is not.
"""

from __future__ import annotations

import sys

from agentwrit_guard import Denied, Guard
from tests.core.kit import bearer
from tests.kit.clock import MovableClock


def watch(path: str, *tokens: str) -> None:
    clock = MovableClock()
    guard = Guard("http://127.0.0.1:1", deny_file=path, clock=clock.clock)
    print("ready", flush=True)
    for line in sys.stdin:
        clock.move(float(line))
        refused = (isinstance(guard.decide(bearer(token)), Denied) for token in tokens)
        print("".join(str(int(each)) for each in refused), flush=True)


if __name__ == "__main__":
    watch(*sys.argv[1:])
