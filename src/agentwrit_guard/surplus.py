"""Whether more has come over a connection than the answer to the last request (threats B-24).

Bytes behind an answer would be read as the answer to the next request, and `{"valid":false}` is not bound to any
token. A connection that has them, or an answer whose end cannot be told, is not used again.
"""

from __future__ import annotations

import re
from typing import Final

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?=\r\n|\Z)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*(?=\r\n|\Z)", re.IGNORECASE)
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[^\r\n]*\r\n")
_BODILESS: Final = (b"204", b"304")
# Headers and framing included: far more than an answer that is taken, and all that is kept of one that is not.
_KEPT: Final = 256 * 1024


class Received:
    """What has come since the last request. `sent()` begins anew."""

    __slots__ = ("_data", "_fresh")

    def __init__(self) -> None:
        self._data = bytearray()
        self._fresh = True

    def sent(self) -> None:
        """More of a request goes out: the answer to the one before is over."""
        if not self._fresh:
            self._data.clear()
            self._fresh = True

    def came(self, data: bytes) -> None:
        if len(self._data) <= _KEPT:
            self._data += data
        self._fresh = False

    def surplus(self) -> bool:
        """True unless exactly one whole answer has come, or nothing yet."""
        if not self._data:
            return False
        head, _, rest = bytes(self._data).partition(b"\r\n\r\n")
        if len(self._data) > _KEPT or head.count(b"\n") != head.count(b"\r\n"):
            # The HTTP parser takes a bare LF for the end of a line, and so may see the head end before this does.
            return True
        length = _LENGTH.search(head)
        if head[9:12] in _BODILESS:
            end = 0
        elif _CHUNKED.search(head):
            end = _end_of_chunks(rest)
        elif length is not None:
            end = int(length.group(1))
        else:
            return True
        return len(rest) != end


def _end_of_chunks(body: bytes) -> int:
    """Where a chunked body without trailers ends, -1 if it does not."""
    index = 0
    while True:
        line = _SIZE.match(body, index)
        if line is None:
            return -1
        size = int(line.group(1), 16)
        index = line.end() + size + 2
        if size == 0:
            return index
