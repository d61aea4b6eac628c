"""The tables of the performance page, made of a run's results alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench.figures import shown

BEGIN: Final = "<!-- figures: python -m bench writes them -->"
END: Final = "<!-- end of figures -->"


def put(results: Mapping[str, Any], page: Path) -> None:
    """Put the tables between their marks in the page."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN, 1)
    page.write_text(before + BEGIN + "\n\n" + tables(results) + "\n" + END + rest.split(END, 1)[1], encoding="utf-8")


def tables(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    place = f"{machine['python']} on {machine['system']}, {machine['processor']}"
    lines = [
        f"{place}, {machine['cores']} cores, {machine['openssl']}; a {results['effort']} run.",
        f"With {packages}.",
    ]
    for section in results["sections"].values():
        if section["targets"]:
            lines += ["", f"### {section['title']}", "", *_targets(section["targets"])]
    return "\n".join(lines) + "\n"


def _targets(targets: list[Mapping[str, Any]]) -> Iterator[str]:
    yield "| | measured | of all rounds | target | |"
    yield "|---|---|---|---|---|"
    for target in targets:
        unit = "" if target["unit"] == "x" else f" {target['unit']}"
        spread = f"{shown(target['least'])} to {shown(target['most'])}"
        verdict = "met" if target["met"] else f"missed: {target['why']}" if target.get("why") else "missed"
        bound = f"{target['bound']} {shown(target['value'])}{unit}"
        yield f"| {target['name']} | {shown(target['median'])}{unit} | {spread} | {bound} | {verdict} |"
