"""Text that nobody reads by accident: in the locals of a traceback, in a frame dump, in a `repr`."""

from __future__ import annotations


class Redacted(str):
    """A token or secret. It is the text it was made of for everything but `repr` (threats L-01).

    What is made of it, by a slice or an f-string, is plain text again: make that within an expression, not a name.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Redacted()"
