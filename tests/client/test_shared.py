from __future__ import annotations

import pytest

from agentwrit_guard.client import flows
from agentwrit_guard.client.shared import Shared
from agentwrit_guard.client.values import Login
from agentwrit_guard.core.wire import Flow
from agentwrit_guard.errors import AuthenticationError
from tests.client.play import play, problem, reply


def test_turn_lasts_until_the_flow_has_its_outcome() -> None:
    work: Shared[Login] = Shared()

    def start() -> Flow[Login]:
        return flows.app_auth("id", "secret")

    first = work.key()
    flow = work.flow(start)
    next(flow)
    assert work.key() == first
    with pytest.raises(StopIteration):
        flow.send(reply(access_token="a", expires_in=1))
    second = work.key()
    with pytest.raises(AuthenticationError):
        play(work.flow(start), problem(401))
    assert len({first, second, work.key()}) == 3


def test_two_works_never_share() -> None:
    assert Shared().key() != Shared().key()
