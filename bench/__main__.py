"""`python -m bench`: what the guard costs, beside what would be used instead of it, in the same run.

Everything is measured in turn, several rounds. Printed are medians, the least and the most of the rounds in brackets,
and the targets. A target that is missed is said to be, and changes nothing of the exit status.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from bench import page
from bench.effort import FULL, QUICK, Effort
from bench.report import Section

SECTIONS: Final = ("warm", "cold", "served", "traffic", "herd", "growth", "minting", "imports")
HERE: Final = Path(__file__).parent
PICTURES: Final = HERE.parent / "docs" / "pictures"
PAGE: Final = HERE.parent / "docs" / "performance.md"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a minute or so; keeps nothing unless told where")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="these sections; keeps nothing unless told where")
    parser.add_argument("--results", type=Path, help="where the figures go (a whole run: bench/results.json)")
    parser.add_argument("--pictures", type=Path, help="the folder for the pictures (a whole run: docs/pictures)")
    given = parser.parse_args(words)
    whole = not given.quick and not given.only
    try:
        from bench import machine

        about = machine.described()
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        parser.exit(2, f"bench: {error}: the peers come with the extra, pip install -e '.[bench]'\n")
    effort = QUICK if given.quick else FULL
    names = tuple(name for name in SECTIONS if name in (given.only or SECTIONS))
    place = f"{about['python']} on {about['cores']} cores, {about['processor']}"
    print(f"{place}; {effort.name} run, load {about['load_before']} before")
    found = {name: _run(name, effort) for name in names}
    results: dict[str, Any] = {
        "machine": about,
        "effort": effort.name,
        "sections": {name: section.as_json() for name, section in found.items()},
    }
    _summarise(found)
    where = given.results or (HERE / "results.json" if whole else None)
    if where is not None:
        where.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"figures: {where}")
    folder = given.pictures or (PICTURES if whole else None)
    if folder is not None:
        from bench import pictures

        for path in pictures.draw(results, folder):
            print(f"picture: {path}")
    if whole:
        page.put(results, PAGE)
        print(f"page: {PAGE}")
    return 0


def _run(name: str, effort: Effort) -> Section:
    started = time.perf_counter()
    module = importlib.import_module(f"bench.sections.{name}")
    # What was imported is no part of anything here: the collector need not go through it before each stretch.
    gc.freeze()
    section: Section = module.run(effort)
    gc.unfreeze()
    print(*section.lines(), f"  ({time.perf_counter() - started:.0f} s)", sep="\n", flush=True)
    gc.collect()
    return section


def _summarise(found: dict[str, Section]) -> None:
    targets = [target for section in found.values() for target in section.targets]
    missed = [target for target in targets if not target.met]
    print(f"== {len(targets) - len(missed)} of {len(targets)} targets met")
    for target in missed:
        print(f"  missed: {target.figure.name}: {target.figure.median:.3g} {target.figure.unit}, {target}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
