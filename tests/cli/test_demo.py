"""The demo as users run it: every answer as expected, on both fronts, against any broker."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from agentwrit_guard.devbroker import DevBroker
from tests.cli.kit import environment, exports, one_line, options, run, started
from tests.cli.tlsfront import certificate, serving

OPERATORS = {"admin token", "before the revocation", "revoked by the operator"}
EXPECTED = {
    "right scope": (200, "broker"),
    "right scope, again": (200, "cache"),
    "another customer's id": (403, "cache"),
    "collection, filtered": (200, "cache"),
    "collection, whole": (200, "broker"),
    "no token": (401, "guard"),
    "forged token": (401, "broker"),
    "admin token": (401, "guard"),
    "narrowed delegation": (200, "broker"),
    "beyond the delegation": (403, "cache"),
    "before the release": (200, "broker"),
    "seen a moment ago": (200, "cache"),
    "a write asks anew": (200, "broker"),
    "released": (401, "broker"),
    "released, known by now": (401, "cache"),
    "before the revocation": (200, "broker"),
    "revoked by the operator": (401, "broker"),
    "broker unreachable": (503, "broker"),
    "seen before the outage": (200, "cache"),
    "broker back": (200, "broker"),
}

SIGNALS = pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


def steps_of(ended: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert ended.returncode == 0, ended
    document = json.loads(ended.stdout)
    assert set(document) == {"ok", "steps"}
    assert document["ok"] is True
    steps: list[dict[str, Any]] = document["steps"]
    return steps


def answers(steps: list[dict[str, Any]], front: str) -> dict[str, tuple[int, str]]:
    return {step["step"]: (step["status"], step["source"]) for step in steps if step["front"] == front}


def test_with_its_own_twin() -> None:
    ended = run("demo", "--json")
    steps = steps_of(ended)
    assert ended.stderr == ""
    assert answers(steps, "fastapi") == answers(steps, "flask") == EXPECTED
    for step in steps:
        assert list(step) == [
            "step", "front", "request", "required", "held", "expected", "status", "source", "ms", "ok",
        ]  # fmt: skip
        assert step["ok"] is True
        assert step["status"] == step["expected"]
        assert step["ms"] > 0
        assert isinstance(step["required"], list)
        assert isinstance(step["held"], list)


def test_with_a_given_broker_and_its_operator(broker: DevBroker) -> None:
    before = broker.calls["/v1/token/validate"]
    steps = steps_of(run("demo", "--json", *options(broker, operator=True)))
    assert answers(steps, "fastapi") == answers(steps, "flask") == EXPECTED
    # "From the broker" is what the broker says as well: one call for each such answer, but for those of the outage.
    asked = [step for step in steps if step["source"] == "broker" and step["status"] != 503]
    assert broker.calls["/v1/token/validate"] - before == len(asked)


def test_without_an_operator_its_steps_are_left_out(broker: DevBroker) -> None:
    ended = run("demo", "--json", **environment(broker))
    steps = steps_of(ended)
    assert answers(steps, "fastapi") == {name: found for name, found in EXPECTED.items() if name not in OPERATORS}
    assert ended.stderr.startswith("agentwrit-guard: left out, for want of an admin secret: ")
    assert all(name in ended.stderr for name in OPERATORS)

    table = run("demo", **environment(broker))
    assert (table.returncode, table.stderr) == (0, "")
    assert "left out, for want of an admin secret: admin token, before the revocation, revoked by" in table.stdout


def test_behind_tls(broker: DevBroker, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with serving(broker.url, pem) as (url, hosts):
        settings = {**environment(broker, operator=True), "AGENTWRIT_BROKER_URL": url}
        steps = steps_of(run("demo", "--json", **settings, AGENTWRIT_CA_FILE=str(pem)))
        assert answers(steps, "fastapi") == answers(steps, "flask") == EXPECTED
        # The relay's own address must not reach a gateway, which routes by host.
        assert hosts == {url.removeprefix("https://")}
        assert "cannot connect" in one_line(run("demo", **settings))


def test_table() -> None:
    ended = run("demo")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    row = next(line for line in lines if "clerk: another customer's id" in line)
    assert re.search(
        r"GET /customers/7292 +read:customers:7292 +read:customers:7291 +(403 +cache +\d+\.\d +){2}$", f"{row} "
    )
    assert "40 of 40 answers as expected, with its own twin for a broker." in lines
    assert "Bearer" not in ended.stdout
    assert "eyJ" not in ended.stdout


def test_verbose_shows_the_records() -> None:
    ended = run("demo", "--json", "-v")
    steps_of(ended)
    assert re.search(r"agentwrit_guard\.decisions: .*403.*/customers/7292.*insufficient_scope", ended.stderr)
    assert "agentwrit_guard.events: broker_unavailable: " in ended.stderr
    assert "eyJ" not in ended.stderr


def test_a_wrong_answer_shows(broker: DevBroker) -> None:
    # The guard wants an audience that this broker puts into no token, so that it refuses everybody.
    settings = {**environment(broker, operator=True), "AGENTWRIT_AUDIENCE": "https://api.example"}
    ended = run("demo", "--json", **settings)
    document = json.loads(ended.stdout)
    assert (ended.returncode, document["ok"]) == (1, False)
    wrong = {step["step"] for step in document["steps"] if not step["ok"]}
    assert {"right scope", "forged token", "broker unreachable"} <= wrong
    assert "no token" not in wrong
    assert "FastAPI, right scope: answered 401, expected 200; decided by guard, expected broker" in ended.stderr
    table = run("demo", **{**settings, **environment(broker, operator=True)})
    assert table.returncode == 1
    assert "4 of 40 answers as expected" in table.stdout


@SIGNALS
def test_keep_until_a_signal(number: signal.Signals, code: int) -> None:
    with started("demo", "--keep") as process:
        token = exports(process, "TOKEN")["TOKEN"]
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(8)]
        for line in lines:
            match = re.fullmatch(r"curl -i (-H \"Authorization: Bearer \$TOKEN\" )?(\S+) +# \w+: (\d+).*\n", line)
            assert match is not None, line
            headers = {"Authorization": f"Bearer {token}"} if match.group(1) else {}
            answer = httpx.get(match.group(2), headers=headers, trust_env=False)
            assert answer.status_code == int(match.group(3)), line
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, "", "")


def test_keep_leaves_stdout_to_json() -> None:
    with started("demo", "--keep", "--json") as process:
        assert process.stderr is not None
        assert any(line.startswith("export TOKEN=") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out)["ok"] is True
    assert "Traceback" not in err


def test_a_signal_in_the_middle(broker: DevBroker) -> None:
    # Slow, so that there is much left to do when the first decision shows.
    with broker.slow(0.1), started("demo", "--json", "-v", **environment(broker)) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (143, ""), err
    assert "Traceback" not in err


def test_a_signal_while_the_broker_keeps_silent() -> None:
    with DevBroker() as broker, broker.slow(3600), started("demo", **environment(broker)) as process:
        while not broker.calls["/v1/app/auth"]:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


def test_nothing_there() -> None:
    said = one_line(run("demo", "--broker-url", "http://127.0.0.1:1", "--client-id", "a", "--client-secret", "b"))
    assert "cannot connect to the broker at http://127.0.0.1:1" in said


def test_wrong_client_secret(broker: DevBroker) -> None:
    wrong = {**environment(broker), "AGENTWRIT_CLIENT_SECRET": "wrong-secret"}
    said = one_line(run("demo", **wrong))
    assert "does not accept this client id and secret" in said
    assert "wrong-secret" not in said


def test_wrong_admin_secret(broker: DevBroker) -> None:
    said = one_line(run("demo", *options(broker), "--admin-secret", "wrong-secret"))
    assert "does not accept this admin secret" in said
    assert "wrong-secret" not in said


@pytest.mark.parametrize("scopes", [("read:customers:*",), ("read:data:*", "write:data:*"), ("read:customers:7291",)])
def test_ceiling_too_small(broker: DevBroker, scopes: tuple[str, ...]) -> None:
    said = one_line(run("demo", "--json", **environment(broker, scopes=scopes)))
    assert "ceiling is too small, it has to cover read:customers:* and write:customers:*" in said


@pytest.mark.parametrize(
    "given, missing",
    [
        (["--broker-url", "http://127.0.0.1:1"], "--client-id"),
        (["--broker-url", "http://127.0.0.1:1", "--client-id", "a"], "--client-secret"),
        (["--client-id", "a", "--client-secret", "b"], "--broker-url"),
        (["--admin-secret", "a"], "--broker-url"),
    ],
)
def test_half_a_broker(given: list[str], missing: str) -> None:
    assert f"{missing} (AGENTWRIT_" in one_line(run("demo", *given))


def test_url_that_no_broker_has() -> None:
    said = one_line(run("demo", "--broker-url", "http://192.0.2.1", "--client-id", "a", "--client-secret", "b"))
    assert "sends tokens in the clear" in said


def test_a_server_that_is_no_broker(broker: DevBroker) -> None:
    settings = environment(broker)
    settings["AGENTWRIT_BROKER_URL"] += "/elsewhere"
    assert "is the path of broker_url right?" in one_line(run("demo", **settings))
