from __future__ import annotations

import pytest

from agentwrit_guard.client import flows
from agentwrit_guard.client.session import Session
from agentwrit_guard.errors import AuthenticationError
from tests.client.play import play, problem, reply
from tests.kit.clock import Time


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def session(clock: Time) -> Session:
    return Session(lambda: flows.app_auth("id", "secret"), clock)


@pytest.mark.parametrize(("expires_in", "good_for"), [(900, 870), (300, 270), (60, 54), (10, 9), (1, 0.9)])
def test_login_is_kept_until_shortly_before_its_end(
    session: Session, clock: Time, expires_in: int, good_for: float
) -> None:
    assert session.token() is None
    _, token = play(session.login(), reply(access_token="one", expires_in=expires_in))
    assert token == session.token() == "one"
    clock.now += good_for - 0.01
    assert session.token() == "one"
    clock.now += 0.02
    assert session.token() is None


def test_life_is_counted_from_the_request(session: Session, clock: Time) -> None:
    flow = session.login()
    next(flow)
    clock.now += 871
    with pytest.raises(StopIteration):
        flow.send(reply(access_token="one", expires_in=900))
    assert session.token() is None


def test_no_login_while_one_is_held(session: Session) -> None:
    play(session.login(), reply(access_token="one", expires_in=900))
    assert play(session.login()) == ([], "one")


def test_refused_login_is_forgotten_unless_there_is_a_newer_one(session: Session) -> None:
    session.refused("none yet")
    play(session.login(), reply(access_token="one", expires_in=900))
    session.refused("an older one")
    assert session.token() == "one"
    session.refused("one")
    assert session.token() is None


def test_failed_login_leaves_nothing(session: Session) -> None:
    with pytest.raises(AuthenticationError):
        play(session.login(), problem(401))
    assert session.token() is None
