"""The canary sweep notices: each way out that it watches is opened once, on purpose (threats L-01)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from agentwrit_guard import Guard
from agentwrit_guard.core.bearer import Token
from agentwrit_guard.core.decisions import Denied, Reason
from agentwrit_guard.devbroker import DevBroker
from agentwrit_guard.errors import AgentWritError, BrokerUnavailable
from agentwrit_guard.link import Link
from agentwrit_guard.transport import LinkOptions
from tests.canary import CANARY, WINDOW
from tests.kit import tokens
from tests.kit.clock import MovableClock
from tests.kit.stub import StubBroker

pytestmark = pytest.mark.canary_dies


@pytest.fixture
def token() -> str:
    return tokens.token()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    CANARY.taken()
    yield
    assert CANARY.taken(), "nothing was noticed"


def piece(token: str) -> str:
    return token[-WINDOW - 3 : -3]


def test_l_01_log(token: str) -> None:
    logging.getLogger("agentwrit_guard.events").warning("refused %s", piece(token))


def test_l_01_attribute_of_a_record(token: str) -> None:
    logging.getLogger("elsewhere").warning("refused", extra={"token": token})


def test_l_01_refusal(token: str) -> None:
    Denied(401, Reason.EXPIRED, (), piece(token).encode())


def test_l_01_text_of_an_error(token: str) -> None:
    with pytest.raises(AgentWritError):
        raise AgentWritError(piece(token))


def test_l_01_error_behind_an_error(token: str) -> None:
    with pytest.raises(BrokerUnavailable):
        _break_off(token)


def _break_off(token: str) -> None:
    try:
        raise AgentWritError(token)
    except AgentWritError as error:
        raise BrokerUnavailable("reset", "it broke off") from error


def test_l_01_local_of_a_frame_of_ours(token: str) -> None:
    def flow(plain: str) -> Any:
        raise AgentWritError("mistake")
        yield

    link = Link(LinkOptions("http://127.0.0.1:9"))
    # `key` is a local of ours: whoever made it of a token would be found.
    with pytest.raises(AgentWritError):
        link.share(token.encode(), lambda: flow("x"), now=MovableClock().clock.now(), max_age=1)
    link.close()


def test_l_01_cache(token: str) -> None:
    with StubBroker() as broker:
        guard = Guard(broker.url, clock=MovableClock().clock)
        guard.check([b"Bearer " + token.encode()])
        guard._cache._rejected[token.encode()] = guard._clock.now()
        kept = [*guard._cache._identities._live.items(), *guard._cache._rejected.items()]
        CANARY.looks("cache", repr(kept))
        guard._cache.reset()
        guard.close()


def test_l_01_tokens_of_the_twin_are_canaries_too() -> None:
    with DevBroker() as broker:
        made = broker.agent(scope=["read:data:1"])
    logging.getLogger("anywhere").error("%s", made.access_token)


def test_l_01_what_is_meant_to_hide_hides(token: str) -> None:
    assert token not in repr(Token(token))
    CANARY.looks("proof that the window counts", piece(token))
