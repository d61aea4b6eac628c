"""A deny through every front (threats D-10): whom it reaches, that nobody is asked, and that no handler runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentwrit_guard.core.decisions import DecisionEvent
from agentwrit_guard.denyfile import LOOK_EVERY
from tests.core.test_deny import REACH, ROOT, TOKENS
from tests.fronts.expect import expect
from tests.fronts.test_table import bearer, get
from tests.kit.clock import MovableClock
from tests.kit.drivers import Answer, Request
from tests.kit.fronts import FRONTS, Front
from tests.kit.stub import Answer as StubAnswer
from tests.kit.stub import StubBroker, json_answer, valid

PATHS = ("/me", "/customers/7291", "/fresh", "/orders", "/nowhere")
DECORATED = ("starlette", "fastapi", "flask")


def requests(name: str, front: Front) -> list[Request]:
    """Every way to a handler that this front has, and one that leads to none."""
    alone = ("/me", "/customers/7291") if front.name == "fastapi-dependency" else PATHS[:3]
    made = [get(bearer(TOKENS[name]), path=path, query="id=1") for path in (PATHS if front.whole else alone)]
    if front.websockets:
        made += [get(bearer(TOKENS[name]), path="/ws", websocket=True, denial_responses=on) for on in (True, False)]
    return made


def refused(answer: Answer, request: Request) -> bool:
    """By 401 `invalid_token`, or before accept by 1008 where a websocket knows no answers."""
    if request.websocket and not request.denial_responses:
        return answer.close_code == 1008
    return answer.status == 401 and 'error="invalid_token"' in (answer.header("www-authenticate") or "")


@pytest.mark.parametrize("known", [True, False], ids=["hit", "miss"])
@pytest.mark.parametrize("name", FRONTS)
def test_d_10_every_level_at_every_place_of_a_chain(
    make_front: Callable[..., Front], broker: StubBroker, name: str, known: bool
) -> None:
    """Own token, root, middle, leaf, task and jti: who is reached is refused at once, without a call."""
    for level, target, _, reached in REACH:
        front = make_front(name)
        if known:
            for text in TOKENS.values():
                assert front.request(get(bearer(text), path="/customers/7291")).status == 200
        front.guard.deny(level, target)  # type: ignore[arg-type]
        calls = broker.calls
        front.ran.clear()
        for one in sorted(reached):
            for request in requests(one, front):
                assert refused(front.request(request), request), (level, target, one, request)
        assert (broker.calls, front.ran) == (calls, [])
        for one in sorted(TOKENS.keys() - reached):
            assert front.request(get(bearer(TOKENS[one]), path="/customers/7291")).status == 200
        assert len(front.ran) == len(TOKENS) - len(reached)
        front.guard.undeny(level, target)  # type: ignore[arg-type]
        for text in TOKENS.values():
            assert front.request(get(bearer(text), path="/customers/7291")).status == 200


@pytest.mark.parametrize("name", FRONTS)
def test_d_10_o_02_a_denied_token_looks_like_any_bad_one(
    make_front: Callable[..., Front], broker: StubBroker, name: str
) -> None:
    front = make_front(name)
    front.guard.deny("agent", ROOT)
    for path in ("/me", "/customers/7291"):
        denied = expect(front, broker, get(bearer(TOKENS["B>C"]), path=path), 401)
        forged = expect(front, broker, get(bearer("a.b.c"), path=path), 401)
        assert denied.body == forged.body
        one, other = (
            [header for header in answer.headers if header[0].lower() != "x-request-id"] for answer in (denied, forged)
        )
        assert one == other


@pytest.mark.parametrize("path", ["/customers/7291", "/any", "/fresh"])
@pytest.mark.parametrize("name", DECORATED)
def test_d_10_whom_the_middleware_let_in_the_decorator_does_not(
    make_front: Callable[..., Front], broker: StubBroker, name: str, path: str
) -> None:
    """The deny comes between the two: the hook hears of the middleware's decision before the app begins."""

    def hook(event: DecisionEvent) -> None:
        seen.append((event.phase, event.reason))
        if event.phase == "middleware" and denying:
            front.guard.deny("chain", ROOT)

    seen: list[tuple[str, str]] = []
    denying = False
    front = make_front(name, guard_on_decision=hook)
    assert front.request(get(bearer(TOKENS["B>C"]), path=path)).status == 200
    assert [outcome for _, outcome in seen] == ["ok"] * len(seen)
    denying = True
    seen.clear()
    expect(front, broker, get(bearer(TOKENS["B>C"]), path=path), 401)
    assert (seen[0], seen[1]) == (("middleware", "ok"), ("requirement", "deny_list"))


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("fails", [False, True], ids=["confirmed", "outage"])
def test_d_10_a_deny_while_the_broker_is_asked(
    make_front: Callable[..., Front], broker: StubBroker, name: str, fails: bool
) -> None:
    front = make_front(name, guard_stale_if_error=30)

    def answer(body: bytes) -> StubAnswer:
        front.guard.deny("agent", ROOT)
        return json_answer({}, 500) if fails else valid(body)

    broker.answer = answer
    request = get(bearer(TOKENS["A>B"]), path="/customers/7291")
    expect(front, broker, request, 503 if fails else 401, calls=1)
    expect(front, broker, request, 401)


@pytest.mark.parametrize("name", FRONTS)
def test_d_10_b_22_a_deny_in_an_outage(
    make_front: Callable[..., Front], broker: StubBroker, clock: MovableClock, name: str
) -> None:
    front = make_front(name, guard_stale_if_error=30)
    request = get(bearer(TOKENS["B>C"]), path="/customers/7291")
    assert front.request(request).status == 200
    broker.answer = lambda _: json_answer({}, 500)
    clock.move(10)
    assert front.request(request).status == 200
    front.guard.deny("token", f"{'bc':0>32}")
    expect(front, broker, request, 401)


@pytest.mark.parametrize("name", FRONTS)
def test_d_10_the_deny_file_reaches_every_front(
    make_front: Callable[..., Front], broker: StubBroker, clock: MovableClock, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "deny"
    path.write_bytes(b"# nobody\n")
    front = make_front(name, guard_deny_file=str(path))
    known: Any = [get(bearer(TOKENS[one]), path="/customers/7291") for one in ("A", "A>B", "B>C")]
    for request in known:
        assert front.request(request).status == 200
    path.write_bytes(f"chain {ROOT}\n".encode())
    clock.move(LOOK_EVERY)
    for request in known:
        expect(front, broker, request, 401)
    path.write_bytes(b"# nobody\n")
    clock.move(LOOK_EVERY)
    for request in known:
        assert front.request(request).status == 200
