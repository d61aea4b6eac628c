"""What whoever runs a guard asks of it: who is denied, what has been decided and counted, and who is told."""

from __future__ import annotations

from collections.abc import Callable

from agentwrit_guard.core.decisions import Allowed, Denied, Phase
from agentwrit_guard.core.deny import DenyEntry, Level
from agentwrit_guard.errors import DenyListFull
from agentwrit_guard.hooks import Hook, ValidationHook
from agentwrit_guard.standing import Standing
from agentwrit_guard.stats import Stats


class Operations(Standing):
    """The operator's side of a `Guard`. Nothing here decides."""

    @property
    def recording(self) -> bool:
        """Whether decisions are logged or hooked at all; refusals are looked at in any case."""
        return self._parts.recorder.wanted()

    def record(
        self,
        decision: Allowed | Denied,
        *,
        phase: Phase,
        front: str,
        method: str,
        path: str,
        request_id: str,
        route: str | None = None,
        enforced: bool = True,
    ) -> None:
        """Log one decision and tell the hook. Fronts call it once for each decision that they act on.

        `route` is the path as declared, `enforced` False when the request goes on whatever was decided.
        """
        self._parts.recorder.decision(
            decision,
            phase=phase,
            front=front,
            method=method,
            path=path,
            request_id=request_id,
            route=route,
            enforced=enforced,
        )

    def watch(self, on_decision: Hook | None = None, on_validation: ValidationHook | None = None) -> Callable[[], None]:
        """Tell further hooks: of each `DecisionEvent`, and of each `ValidationEvent`. Call what this returns to end it.

        Hooks are plain functions and run where the decision is made, one after another. One that takes its time holds
        up that request, threads that wait for the same validation, and on an event loop all of them; but what one
        raises or returns changes nothing. What a hook asks of this guard itself is decided as ever, and not told again;
        for the very token that is being validated it may wait until `timeout`. ConfigurationError for what cannot be
        called.
        """
        return self._parts.hooks.watch(on_decision, on_validation)

    def stats(self) -> Stats:
        """What this guard has counted and holds now. Any thread or event loop may ask; it waits for no broker."""
        return self._parts.stats(self._clock.now())

    def deny(self, level: Level, target: str) -> None:
        """Let nobody in any more whom this names, from the next decision on, in this process and until `undeny`.

        `token` takes a `jti`, `task` a `task_id`, and `agent` or `chain` an agent's id: its own tokens, and every token
        that came through it at any hop of a delegation. ConfigurationError for anything else. DenyListFull when
        there are 10,000 entries: nothing is ever dropped for another one. For every process at once use `deny_file`.
        """
        entry = DenyEntry.checked(level, target)
        try:
            self._parts.denied.add(entry)
        except DenyListFull as error:
            self._parts.recorder.event("deny_list_full", str(error))
            raise

    def undeny(self, level: Level, target: str) -> bool:
        """Take back what `deny` said; whether it had. What the deny file says is the file's."""
        return self._parts.denied.remove(DenyEntry.checked(level, target))
