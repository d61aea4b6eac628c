from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from agentwrit_guard.cli import main
from agentwrit_guard.cli.inspect import _span
from agentwrit_guard.client import AgentWritApp
from agentwrit_guard.devbroker import DevBroker
from tests.cli.kit import environment, one_line, options, run
from tests.kit import tokens


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AGENTWRIT_")]:
        monkeypatch.delenv(name)


def fresh(**changes: Any) -> str:
    now = int(time.time())
    return tokens.token(**{"iat": now, "nbf": now, "exp": now + 300, **changes})


def inspected(token: str, capsys: pytest.CaptureFixture[str], code: int) -> dict[str, Any]:
    assert main(["inspect", "--json", "--", token]) == code
    shown = capsys.readouterr()
    assert shown.err == ""
    document: dict[str, Any] = json.loads(shown.out)
    return document


def test_mint_then_inspect(broker: DevBroker) -> None:
    minted = run("mint", "read:customers:7291", "read:customers:7292", *options(broker), "--ttl", "120", "--orch", "o1")
    assert (minted.returncode, minted.stderr) == (0, "")
    token = minted.stdout.strip()
    assert minted.stdout == f"{token}\n"
    assert token.count(".") == 2

    shown = run("inspect", token)
    assert (shown.returncode, shown.stderr) == (0, "")
    for text in ("spiffe://agentwrit.local/agent/o1/mint/", "read:customers:7291", "read:customers:7292", "2 min"):
        assert text in shown.stdout
    assert "a guard would ask the broker" in shown.stdout
    assert token not in shown.stdout
    assert token.rpartition(".")[2] not in shown.stdout

    assert json.loads(run("inspect", "-", "--json", stdin=f"{token}\n").stdout)["times"]["lifetime"] == 120


def test_mint_a_header_line(broker: DevBroker) -> None:
    minted = run("mint", "read:customers:7291", "--header", **environment(broker))
    assert minted.stdout.startswith("Authorization: Bearer ey")
    assert minted.stdout.count("\n") == 1
    assert run("inspect", stdin=minted.stdout).returncode == 0


def test_mint_without_a_broker() -> None:
    assert "mint needs a broker" in one_line(run("mint", "read:customers:7291"))


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["read:customers"], "not action:resource:identifier"),
        (["read:customers:1", "--ttl", "0"], "max_ttl must be"),
        (["read:customers:1", "--task", "a/b"], "task_id must be"),
        (["read:data:1"], "ceiling is too small, it has to cover read:data:1"),
    ],
)
def test_mint_refused(broker: DevBroker, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mint", *arguments, *options(broker)]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert said in shown.err


def test_mint_too_often(broker: DevBroker, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["mint", "read:customers:1", *options(broker)]
    assert [main(command) for _ in range(4)] == [0, 0, 0, 2]
    assert "limits how often an app logs in; try again in 60 s" in capsys.readouterr().err


def test_inspect_a_good_token(capsys: pytest.CaptureFixture[str]) -> None:
    token = fresh()
    document = inspected(token, capsys, 0)
    assert (document["ok"], document["reason"], document["why"]) == (True, None, None)
    assert document["header"] == {"alg": "EdDSA", "kid": tokens.KID}
    assert document["claims"]["scope"] == ["read:customers:7291"]
    assert document["times"]["lifetime"] == 300
    assert 290 <= document["times"]["seconds_left"] <= 300


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: fresh(exp=int(time.time()) - 1, iat=int(time.time()) - 300), "expired"),
        (lambda: fresh(exp=int(time.time()) + 7200), "lifetime_exceeded"),
        (lambda: fresh(nbf=int(time.time()) + 200), "not_yet_valid"),
        (lambda: fresh(sub="app:app-demo-123456"), "principal_kind"),
        (lambda: fresh(sub="admin"), "principal_kind"),
        (lambda: fresh(cnf={"jkt": "x"}), "proof_of_possession"),
        (lambda: fresh(jti=""), "malformed_claims"),
        (lambda: fresh(chain_hash="ab" * 32), "chain_violation"),
        (lambda: fresh()[:-1], "malformed_token"),
        (lambda: "a.b.c", "malformed_token"),
        (lambda: "not a token", "malformed_credentials"),
        (lambda: "tökén", "malformed_credentials"),
        (lambda: "x" * 8193, "oversized_credentials"),
    ],
)
def test_inspect_refuses(make: Callable[[], str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    token = make()
    document = inspected(token, capsys, 1)
    assert (document["ok"], document["reason"]) == (False, reason)
    assert document["why"]
    assert main(["inspect", "--", token]) == 1
    assert f"refused with {'400' if 'credentials' in reason else '401'}, {reason}: " in capsys.readouterr().out


def test_inspect_by_the_settings_of_a_guard(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTWRIT_AUDIENCE", "https://api.example")
    assert inspected(fresh(), capsys, 1)["reason"] == "audience_mismatch"
    assert inspected(fresh(aud=["https://api.example"]), capsys, 0)["claims"]["aud"] == ["https://api.example"]
    monkeypatch.setenv("AGENTWRIT_MAX_TOKEN_LIFETIME", "x")
    assert main(["inspect", fresh()]) == 2
    assert capsys.readouterr().err == "agentwrit-guard: AGENTWRIT_MAX_TOKEN_LIFETIME cannot be read: 'x'\n"


def test_inspect_a_chain(broker: DevBroker, capsys: pytest.CaptureFixture[str]) -> None:
    named = environment(broker)
    client_id, secret = named["AGENTWRIT_CLIENT_ID"], named["AGENTWRIT_CLIENT_SECRET"]
    with AgentWritApp(broker.url, client_id, secret) as app:
        root = app.create_agent("o", "root", ["read:customers:*"])
        leaf = app.create_agent("o", "leaf", ["read:customers:1"])
        delegated = root.delegate(leaf.agent_id, ["read:customers:7291"])
    document = inspected(delegated.access_token, capsys, 0)
    (record,) = document["claims"]["delegation_chain"]
    assert (record["agent"], record["scope"]) == (root.agent_id, ["read:customers:*"])
    assert set(record) == {"agent", "scope", "delegated_at"}
    assert main(["inspect", delegated.access_token]) == 0
    shown = capsys.readouterr().out
    assert f"chain     {root.agent_id} held read:customers:* at " in shown
    assert delegated.delegation_chain[0].signature not in shown


def test_inspect_escapes_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = fresh(scope=["read:customers:\x1b[2J\u202e7"])
    assert main(["inspect", hostile]) == 0
    out = capsys.readouterr().out
    assert r"read:customers:\x1b[2J\u202e7" in out
    assert out.isascii()


def test_inspect_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    assert main(["inspect"]) == 2
    assert capsys.readouterr().err == "agentwrit-guard: there is no token to inspect\n"


@pytest.mark.parametrize(
    "seconds, text", [(0, "0 s"), (59.9, "59 s"), (300, "5 min"), (3725, "1 h 2 min"), (93600, "1 d 2 h")]
)
def test_span(seconds: float, text: str) -> None:
    assert _span(seconds) == text
