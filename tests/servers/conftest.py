from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.servers import hosts
from tests.servers.agents import Mint, minter
from tests.servers.hosts import Host, Serve

_running = pytest.StashKey[list[Host]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    if report.failed:
        used = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Host)]
        shown = used or item.config.stash.get(_running, [])[-2:]
        report.sections += [(f"output of {host.name}", host.output[-8000:]) for host in shown]
    return report


@pytest.fixture(scope="session")
def broker() -> Iterator[DevBroker]:
    with DevBroker() as twin:
        yield twin


@pytest.fixture(scope="session")
def mint(broker: DevBroker) -> Iterator[Mint]:
    with minter(broker) as mint:
        yield mint


@pytest.fixture(scope="session")
def serve(broker: DevBroker, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Serve]:
    """A server with an app, started once for each set of arguments and stopped at the end."""
    started: dict[Any, Host] = {}
    running = pytestconfig.stash.setdefault(_running, [])

    with contextlib.ExitStack() as stack:

        def start(
            server: str,
            app: str,
            *,
            broker_url: str = broker.url,
            python: tuple[str, ...] = (),
            options: tuple[str, ...] = (),
            **env: str,
        ) -> Host:
            key = (server, app, broker_url, python, options, *sorted(env.items()))
            if key not in started:
                folder = tmp_path_factory.mktemp(server)
                host = hosts.start(server, app, broker_url, folder, python=python, options=options, **env)
                stack.callback(host.stop)
                started[key] = host
                running.append(host)
            return started[key]

        yield start
        for host in started.values():
            host.process.terminate()
    running.clear()
