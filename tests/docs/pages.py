"""The pages of the project, and the code blocks in them.

A block has a name after its language, as in "```python fastapi", by which the tests know what to do with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)

_FENCE = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1``` *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    name: str
    text: str
    line: int

    @property
    def key(self) -> str:
        return f"{self.page}:{self.name}"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    text = read(page)
    found = []
    for match in _FENCE.finditer(text):
        language, _, name = match.group(2).strip().partition(" ")
        found.append(Block(page, language, name, match.group(3), text.count("\n", 0, match.start()) + 2))
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(found), f"a fence of {page} is not closed"
    return found


def all_blocks() -> dict[str, Block]:
    return {block.key: block for page in PAGES for block in blocks(page)}


def prose(page: str) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", read(page))


def table(page: str, heading: str) -> list[list[str]]:
    """The rows below the head of the one table in a section."""
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", read(page), re.MULTILINE | re.DOTALL)
    assert section is not None, f"{page} has no section {heading!r}"
    lines = [line for line in section.group(1).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines[2:]]
