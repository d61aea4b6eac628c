"""`python -m agentwrit_guard`: the command line."""

from __future__ import annotations

import sys

from agentwrit_guard.cli import main

if __name__ == "__main__":
    sys.exit(main())
