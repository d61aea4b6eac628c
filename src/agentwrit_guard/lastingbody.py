"""A streamed answer over WSGI, for as long as its vigil lets it last (threats R-18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from agentwrit_guard import environ as wsgienviron
from agentwrit_guard.core.decisions import Allowed
from agentwrit_guard.environ import Environ, StartResponse, WSGIApp
from agentwrit_guard.errors import ConnectionEnded
from agentwrit_guard.guard import Guard
from agentwrit_guard.vigil import STALE, Vigil


class LastingBody:
    """The answer of an app. Between two chunks it asks whether its agent might still be let in.

    A stream of events ends there, so that its client connects anew and is told why it may not. Any other is broken
    off, so that nobody takes a part of it for the whole. What is a list or a file of the server's is left alone.
    """

    def __init__(
        self,
        environ: Environ,
        start_response: StartResponse,
        guard: Guard,
        allowed: Allowed,
        authorization: Sequence[bytes],
    ) -> None:
        self._environ = environ
        self._start_response = start_response
        self._guard = guard
        self._allowed = allowed
        # As the guard saw it: the app may change its environ.
        self._authorization = authorization
        self._events = False
        # Since the start of a stream of events, since the first chunk of any other answer.
        self._since: float | None = None
        # Made when something follows, which it rarely does.
        self._vigil: Vigil | None = None
        self._over = False
        self._spared = False
        """Whether it would be over, were anything enforced."""
        self._body: Iterable[bytes] = ()

    def of(self, app: WSGIApp) -> Iterable[bytes]:
        self._body = body = app(self._environ, self._start)
        wrapper = self._environ.get("wsgi.file_wrapper")
        served = isinstance(body, (list, tuple)) or (isinstance(wrapper, type) and isinstance(body, wrapper))
        return body if served and not self._over else self

    def __iter__(self) -> Iterator[bytes]:
        if self._events:
            self._watch()
        for chunk in self._body:
            if self._ended():
                break
            self._watch()
            yield chunk
        if self._over and not self._events:
            raise ConnectionEnded("the answer has outlived its agent's token")

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

    def _watch(self) -> None:
        if self._since is None:
            self._since = self._guard.monotonic()

    def _ended(self) -> bool:
        if self._since is None or self._over:
            return self._over
        if self._vigil is None:
            self._vigil = Vigil(self._guard, self._authorization, self._allowed, self._since)
        binds = self._guard.enforces()
        # Nobody is asked for what will not be acted on: that could take longer than shadow mode may.
        denied = self._vigil.ask_blocking() if binds else self._vigil.look()
        if denied is not None and (binds or not self._spared):
            wsgienviron.record(self._environ, self._guard, denied, phase="connection", front="wsgi", enforced=binds)
            self._over, self._spared = binds, not binds
        return self._over

    def _start(self, status: str, headers: list[tuple[str, str]], *rest: Any, **named: Any) -> Callable[[bytes], Any]:
        kinds = [value for name, value in headers if len(name) == 12 and name.lower() == "content-type"]
        self._events = len(kinds) == 1 and kinds[0].lower().startswith("text/event-stream")
        if self._allowed.source == "stale":
            headers = [*headers, (STALE, str(int(self._guard.age(self._allowed))))]
        write: Callable[[bytes], Any] = self._start_response(status, headers, *rest, **named)

        def written(chunk: bytes) -> None:
            if self._ended():
                raise ConnectionEnded("the answer has outlived its agent's token")
            self._watch()
            write(chunk)

        return written
