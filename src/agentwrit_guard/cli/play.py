"""Sets the demo's stage and performs its steps: each request to each front, with what the guard said of it."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from agentwrit_guard.cli.apps import fastapi_app, flask_app
from agentwrit_guard.cli.cast import assembled
from agentwrit_guard.cli.exits import CommandError
from agentwrit_guard.cli.relay import Relay
from agentwrit_guard.cli.servers import uvicorn_serving, waitress_serving
from agentwrit_guard.cli.steps import Stage, Step
from agentwrit_guard.cli.target import Target
from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.guard import Guard

# Longer than the guard's default, so that a slow broker does not age what the steps want to find in the cache.
CACHE_TTL = 30.0


@dataclass(frozen=True)
class Front:
    """A guarded app that is being served, and what its guard says of requests."""

    name: str
    url: str
    client: httpx.Client
    witness: Witness


@dataclass(frozen=True)
class Outcome:
    """The answer of one front to one step; `faults` are the ways in which it is not the expected one."""

    step: Step
    front: str
    held: tuple[str, ...]
    status: int
    source: str
    milliseconds: float
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.faults


class Witness:
    """A guard's decision hook: where the decision on one awaited request came from.

    The last decision is the answer: a middleware's comes before that of the route.
    """

    def __init__(self) -> None:
        self._awaited = ""
        self.source: str = "nobody"

    def await_request(self) -> str:
        """Forget the last request; the id for the next."""
        self._awaited, self.source = secrets.token_hex(8), "nobody"
        return self._awaited

    def __call__(self, event: DecisionEvent) -> None:
        if event.request_id == self._awaited:
            self.source = event.source


@contextlib.contextmanager
def staged(target: Target) -> Iterator[tuple[Stage, list[Front]]]:
    """Agents, relay, and both apps behind their servers; all of it ends with the block."""
    settings = target.settings
    with contextlib.ExitStack() as stack:
        cast = stack.enter_context(assembled(target))
        relay = stack.enter_context(Relay(settings.broker_url, target.options.tls().context()))
        fronts = []
        for name in ("FastAPI", "Flask"):
            witness = Witness()
            guard = Guard(
                relay.url,
                audience=settings.audience,
                issuer=settings.issuer,
                trust_domain=settings.trust_domain,
                timeout=settings.timeout,
                cache_ttl=CACHE_TTL,
                on_decision=witness,
            )
            stack.callback(guard.close)
            serving = uvicorn_serving(fastapi_app(guard)) if name == "FastAPI" else waitress_serving(flask_app(guard))
            url = stack.enter_context(serving)
            client = stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=settings.timeout + 10))
            # Connects, so that the first step's time is that of its request.
            client.get("/health").raise_for_status()
            fronts.append(Front(name, url, client, witness))
        yield Stage(cast, relay), fronts


def perform(step: Step, stage: Stage, fronts: list[Front]) -> Iterator[Outcome]:
    """One request to each front. What has to happen first happens once."""
    if step.first is not None:
        step.first(stage)
    for front in fronts:
        headers = {"X-Request-ID": front.witness.await_request()}
        token = stage.cast.tokens.get(step.who)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        started = time.perf_counter()
        try:
            answer = front.client.request(step.method, step.path, headers=headers)
        except httpx.HTTPError as error:
            raise CommandError(f"{front.name} gave no answer to {step.request} ({type(error).__name__})") from None
        milliseconds = (time.perf_counter() - started) * 1000
        source = front.witness.source
        faults = tuple(step.shortcomings(answer, source))
        yield Outcome(step, front.name, stage.cast.held(step.who), answer.status_code, source, milliseconds, faults)
