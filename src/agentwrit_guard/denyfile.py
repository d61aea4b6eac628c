"""The operator's deny file: what it says is in force in every process that watches it, within a second.

One entry a line, `level target`; blank lines and lines that begin with `#` say nothing. Whoever writes the file
replaces it in one step (write another, rename it), so that no reader meets half of one. Nothing here runs in the
background: the file is read when a request comes, at most four times a second, and so a forked process needs nothing
of its own. It is read whole each time, because no time stamp tells every change.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Final

from agentwrit_guard.core.deny import MAX_ENTRIES, DenyEntry, DenyList
from agentwrit_guard.errors import ConfigurationError

LOOK_EVERY: Final = 0.25
MAX_BYTES: Final = MAX_ENTRIES * 2100

Notice = Callable[[str, str], None]


class DenyFile:
    """Keeps `deny` as the file has it. A file that cannot be used leaves in force what was, and `notice` is told.

    ConfigurationError at the start, where there is nothing to keep.
    """

    def __init__(self, path: str, deny: DenyList, monotonic: Callable[[], float], notice: Notice) -> None:
        # A server may change its working directory later.
        self._path = os.path.abspath(path)
        self._deny = deny
        self._monotonic = monotonic
        self._notice = notice
        self._seen = b""
        self._fault: str | None = None
        self.reset()
        self._load()

    def reset(self) -> None:
        """Go on with a new lock (for a forked child)."""
        self._lock = threading.Lock()
        self._due = self._monotonic() + LOOK_EVERY

    def look(self, now: float) -> None:
        """Take over what has changed, if it is time to look (monotonic seconds). Costs a comparison otherwise."""
        if now < self._due:
            return
        lock = self._lock
        if not lock.acquire(blocking=False):
            return
        try:
            if now >= self._due:
                self._due = now + LOOK_EVERY
                self._load()
        except ConfigurationError as error:
            self._notice("deny_file_broken", f"{error}; what it said before stays in force")
        finally:
            lock.release()

    def _load(self) -> None:
        self._take(self._read())
        if self._fault is not None:
            raise ConfigurationError(f"deny_file {self._path!r} {self._fault}")

    def _take(self, data: bytes) -> None:
        """Put the file's entries in force if it has changed; `_fault` says what is wrong with it otherwise."""
        seen = hashlib.blake2b(data).digest()
        if seen == self._seen:
            return
        try:
            entries = list(_entries(data))
            if not data:
                raise ConfigurationError("is empty, as if cut off; a comment alone lifts every entry")
        except ConfigurationError as error:
            self._fault = str(error)
        else:
            self._deny.replace(entries)
            self._fault = None
        self._seen = seen

    def _read(self) -> bytes:
        """The file's bytes. It is opened without waiting, since a pipe in its place would wait for a writer."""
        try:
            with open(self._path, "rb", opener=_open_at_once) as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return file.read(MAX_BYTES + 1)
            reason = "not a regular file"
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except ValueError:
            reason = "not a path"
        raise ConfigurationError(f"deny_file {self._path!r} cannot be read: {reason}")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _entries(data: bytes) -> Iterator[DenyEntry]:
    """ConfigurationError says what is wrong, and in which line."""
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"is over {MAX_BYTES} bytes")
    if data and not data.endswith(b"\n"):
        raise ConfigurationError("ends within a line; replace the file in one step")
    found = 0
    for number, line in enumerate(io.BytesIO(data.removeprefix(codecs.BOM_UTF8)), 1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        found += 1
        if found > MAX_ENTRIES:
            raise ConfigurationError(f"has more than {MAX_ENTRIES} entries")
        try:
            level, target = (word.decode() for word in words)
            yield DenyEntry.checked(level, target)
        except ConfigurationError as error:
            raise ConfigurationError(f"is wrong in line {number}: {error}") from None
        except ValueError:
            raise ConfigurationError(f"is wrong in line {number}: not `level target` in UTF-8") from None
