"""The local deny list: what this guard lets in no more, whatever the broker says (threats C and D-10).

Keys are claims and never tokens, because one token has many spellings (J-15). Each level reaches at least what the
broker's revocation of that level reaches. `agent` and `chain` reach further: the agent's own tokens, and every token
that came through it, at whichever hop. The broker leaves those alive (contract section 7).

Traffic cannot fill the list nor evict from it: only `add` and `replace` write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple, get_args

from agentwrit_guard.core.claims import MAX_TEXT, AgentClaims, is_text, principal_kind
from agentwrit_guard.core.jws import parse_jws
from agentwrit_guard.errors import ConfigurationError, DenyListFull

Level = Literal["token", "agent", "task", "chain"]
LEVELS: Final[tuple[str, ...]] = get_args(Level)
MAX_ENTRIES: Final = 10_000


class DenyEntry(NamedTuple):
    """`target` is a token's `jti`, a task's `task_id`, or the SPIFFE id of an agent or of a member of a chain."""

    level: str
    target: str

    @classmethod
    def checked(cls, level: object, target: object) -> DenyEntry:
        """ConfigurationError for a level that there is none of, or a target that nothing let in could have.

        A deny that denies nobody would be found out too late. Neither value is shown: it may be a token.
        """
        if level not in LEVELS:
            raise ConfigurationError(f"level must be one of {', '.join(LEVELS)}")
        if not is_text(target) or not target or any(map(str.isspace, target)):
            raise ConfigurationError(
                f"target of {level} must be a text of 1 to {MAX_TEXT} bytes without blanks and control characters"
            )
        if level in ("agent", "chain") and principal_kind(target) is None:
            raise ConfigurationError(f"target of {level} must be the whole id of an agent, spiffe://...")
        if parse_jws(target) is not None:
            what = "the token's jti" if level == "token" else "a claim"
            raise ConfigurationError(f"target of {level} must be {what}, not the token")
        return cls(str(level), target)


class _Entries:
    """Entries by the claim that they are compared with. `agent` and `chain` name the same claims."""

    def __init__(self, entries: Iterable[DenyEntry] = ()) -> None:
        self.of: dict[str, dict[str, float]] = {"token": {}, "agent": {}, "task": {}, "chain": {}}
        for entry in entries:
            self.of[entry.level][entry.target] = 0.0

    def __len__(self) -> int:
        return sum(map(len, self.of.values()))

    def level(self, claims: AgentClaims) -> str | None:
        if claims.jti in self.of["token"]:
            return "token"
        if claims.task_id in self.of["task"]:
            return "task"
        for level in ("agent", "chain"):
            agents = self.of[level]
            if agents and (claims.sub in agents or any(record.agent in agents for record in claims.delegation_chain)):
                return level
        return None


class DenyList:
    """Two bounded lists, one of the program and one of the operator's file, so that neither can crowd out the other.

    Reading takes no lock; `filled` is empty while nothing is denied. `token_life` is how many seconds from now a token
    can still be accepted at most: an entry for one token is of no use any longer then, and makes room when room is
    needed. `monotonic` is read for that.
    """

    def __init__(self, token_life: float, monotonic: Callable[[], float], *, size: int = MAX_ENTRIES) -> None:
        self._token_life = token_life
        self._monotonic = monotonic
        self._size = size
        self._own = _Entries()
        self._file = _Entries()
        self.reset()

    def reset(self) -> None:
        """Keep the entries, with a new lock: in a forked child the old one may be held by a thread that is gone."""
        self._lock = threading.Lock()
        self._note()

    def __len__(self) -> int:
        return len(self._own) + len(self._file)

    def sizes(self) -> tuple[int, int]:
        """How many entries are the program's, and how many the file's."""
        return len(self._own), len(self._file)

    def add(self, entry: DenyEntry) -> None:
        """Deny from now on. DenyListFull, with nothing changed, when there is no room."""
        with self._lock:
            targets = self._own.of[entry.level]
            if entry.target not in targets and len(self._own) >= self._size:
                self._sweep()
                if len(self._own) >= self._size:
                    raise DenyListFull(f"the deny list holds {self._size} entries; {entry.level} was not added")
            targets[entry.target] = self._monotonic()
            self._note()

    def remove(self, entry: DenyEntry) -> bool:
        """Whether `add` had put it here. Entries of the file are the file's."""
        with self._lock:
            found = self._own.of[entry.level].pop(entry.target, None) is not None
            self._note()
            return found

    def replace(self, entries: Iterable[DenyEntry]) -> None:
        """Put these in the place of what the file said before."""
        replacement = _Entries(entries)
        with self._lock:
            self._file = replacement
            self._note()

    def level(self, claims: AgentClaims) -> str | None:
        """The level at which a token with these claims is denied; None if it is not."""
        for entries in self.filled:
            level = entries.level(claims)
            if level is not None:
                return level
        return None

    def _note(self) -> None:
        self.filled: tuple[_Entries, ...] = tuple(entries for entries in (self._own, self._file) if len(entries))

    def _sweep(self) -> None:
        oldest = self._monotonic() - self._token_life
        tokens = self._own.of["token"]
        for target in [target for target, since in tokens.items() if since <= oldest]:
            del tokens[target]
