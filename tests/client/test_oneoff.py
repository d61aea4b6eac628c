from __future__ import annotations

from typing import Any

import pytest

from agentwrit_guard.client import AgentWritApp, avalidate, validate
from agentwrit_guard.devbroker import AppCredentials, DevBroker
from agentwrit_guard.errors import BrokerUnavailable
from tests.client.play import done

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("function", [validate, avalidate])]


async def test_word_of_the_broker(function: Any, broker: DevBroker, credentials: AppCredentials) -> None:
    with AgentWritApp(broker.url, credentials.client_id, credentials.client_secret) as app:
        agent = app.create_agent("o", "t", ["read:data:1"])
        result = await done(function(broker.url + "/", agent.access_token))
        assert (result.valid, result.claims.sub, result.error) == (True, agent.agent_id, None)
        agent.release()
    result = await done(function(broker.url, agent.access_token, timeout=5))
    assert (result.valid, result.claims, result.error) == (False, None, "token is invalid or expired")
    assert not (await done(function(broker.url, ""))).valid


async def test_broker_that_is_not_there(function: Any) -> None:
    with DevBroker() as broker:
        pass
    with pytest.raises(BrokerUnavailable) as caught:
        await done(function(broker.url, "token"))
    assert (caught.value.fault, caught.value.__cause__) == ("connect", None)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
