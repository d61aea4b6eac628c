"""What a drill would notice: a guard that breaks the promise, and the exit status that says so."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agentwrit_guard.core import engine
from agentwrit_guard.core.bearer import refuse
from agentwrit_guard.core.cache import IdentityCache, TokenHash
from agentwrit_guard.core.claims import parse_claims
from agentwrit_guard.core.decisions import Denied, Reason
from agentwrit_guard.core.inspection import Inspected, Inspection
from agentwrit_guard.core.validation import Validation
from agentwrit_guard.link import Link
from agentwrit_guard.parts import Parts
from agentwrit_guard.pins import PinnedKeys
from bench.drills import workers
from bench.drills.__main__ import main
from bench.drills.tokens import claims

Broken = Callable[..., set[str]]


@pytest.fixture
def broken(capsys: pytest.CaptureFixture[str]) -> Iterator[Broken]:
    """Run a drill in this process; the promises that it found broken."""
    logger = logging.getLogger("agentwrit_guard")
    level = logger.level

    def run(*words: str) -> set[str]:
        status = main(words)
        said = json.loads(capsys.readouterr().out.rpartition("Python ")[0])
        found = {promise for promise, told in said["promises"].items() if told == "BROKEN"}
        assert status == bool(found)
        return found

    yield run
    logger.setLevel(level)


def test_x_01_a_malformed_token_that_is_asked_about(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = claims("x")
    known = parse_claims(payload)
    assert known is not None
    monkeypatch.setattr(Inspection, "__call__", lambda self, token, now: Inspected(known, payload))
    assert {"0 broker calls", "400 or 401, each of them"} <= broken("malformed", "--count", "50")


def test_x_02_a_forged_token_that_is_asked_about(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PinnedKeys, "verify", lambda self, *_: True)
    assert "0 broker calls" in broken("forged", "--count", "50")


def test_time_that_grows_with_the_square(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(entries: list[bytes]) -> Reason:
        some = entries[0][::16]
        assert sum(one == other for one in some for other in some)
        return Reason.MALFORMED_CREDENTIALS

    monkeypatch.setattr(engine, "parse_authorization", slow)
    assert broken("linear", "--rounds", "3") == {"each ratio below 2.5"}


def test_p2_an_entry_that_nobody_sees(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.deny, "add_entry", lambda arguments: 0)
    monkeypatch.setattr(workers.deny, "remove_entry", lambda arguments: 0)
    found = broken("workers", "--processes", "2", "--rounds", "1")
    assert {"every worker refuses within 1 s", "0 let in that came 1 s after the entry"} <= found


def test_c_19_children_that_use_their_parents_connections(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    forget = Link._reset

    def keep_the_client(link: Any) -> None:
        transport = getattr(link, "_transport", None)
        forget(link)
        link._transport = transport

    monkeypatch.setattr(Link, "_reset", keep_the_client)
    assert "0 sockets shared" in broken("fork", "--processes", "1", "--rounds", "1")


def test_c_19_children_that_know_their_parents_agents(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Parts, "reset", lambda self: None)
    assert broken("fork", "--processes", "2", "--rounds", "1") == {"no child goes by this process's identities"}


def test_c_19_tokens_that_are_taken_for_one_another(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenHash, "__call__", lambda self, token: b"same")
    assert "0 answers with another token's claims" in broken("threads", "--threads", "3", "--seconds", "0.5")


def test_p4_a_guard_that_remembers_nothing(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IdentityCache, "put", lambda self, key, identity: True)
    assert "at most 1 call for a token in a TTL" in broken("threads", "--threads", "3", "--seconds", "0.5")


def test_p3_an_outage_that_ends_in_401(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    def rejected(self: Validation, fault: object) -> Denied:
        return refuse(Reason.REJECTED_BY_BROKER, "agentwrit")

    monkeypatch.setattr(Validation, "unavailable", rejected)
    assert "no 401 while nobody can be asked" in broken("killed", "--agents", "2", "--seconds", "1")
