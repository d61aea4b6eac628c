"""What only the official SDK is asked, beside the scenario: how it takes a twin that is down."""

from __future__ import annotations

import pytest
from agentwrit import AgentWritApp
from agentwrit.errors import TransportError

from agentwrit_guard.devbroker import DevBroker


def test_outage_is_a_transport_error() -> None:
    with DevBroker() as broker:
        credentials = broker.app(scopes=["read:data:*"], name="sdk-app")
        app = AgentWritApp(broker.url, credentials.client_id, credentials.client_secret)
        app.create_agent("orch", "task", ["read:data:*"])
        with broker.outage(), pytest.raises(TransportError):
            app.health()
        assert app.health().version == "2.0.0"
        app.close()
