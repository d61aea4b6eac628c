from __future__ import annotations

import signal
from urllib.parse import urlsplit

import httpx
import pytest

from agentwrit_guard.client import AgentWritApp, Operator
from agentwrit_guard.devbroker import DevBroker
from tests.cli.kit import exports, one_line, run, started

LAST = "AGENTWRIT_CLIENT_SECRET"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_prints_exports_and_ends_on_a_signal(number: signal.Signals) -> None:
    with started("dev-broker", "--port", "0") as process:
        found = exports(process, LAST)
        assert list(found) == [
            "AGENTWRIT_BROKER_URL",
            "AGENTWRIT_ADMIN_SECRET",
            "AGENTWRIT_CLIENT_ID",
            "AGENTWRIT_CLIENT_SECRET",
        ]
        assert urlsplit(found["AGENTWRIT_BROKER_URL"]).hostname == "127.0.0.1"
        assert run("demo", "--json", **found).returncode == 0
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_says_what_it_is_for() -> None:
    with started("dev-broker", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("# agentwrit-guard dev-broker on http://127.0.0.1:")
        assert process.stdout.readline().startswith("# For development only")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_given_apps_and_secret() -> None:
    apps = ["--app", "billing=read:invoices:*,write:invoices:7", "--app", "other=read:data:*"]
    with started("dev-broker", "--port", "0", "--admin-secret", "given-secret", *apps) as process:
        found = exports(process, LAST)
        assert "AGENTWRIT_ADMIN_SECRET" not in found
        url = found["AGENTWRIT_BROKER_URL"]
        assert process.stdout is not None
        assert process.stdout.readline() == "# app other: read:data:*\n"
        assert process.stdout.readline().startswith("# export AGENTWRIT_CLIENT_ID=")
        with AgentWritApp(url, found["AGENTWRIT_CLIENT_ID"], found[LAST]) as app:
            agent = app.create_agent("o", "t", ["read:invoices:1", "write:invoices:7"])
            with Operator(url, "given-secret") as operator:
                operator.revoke("agent", agent.agent_id)
            assert not app.validate(agent.access_token).valid


def test_reads_the_brokers_own_names() -> None:
    names = {
        "AA_ADMIN_SECRET": "from-the-environment",
        "AA_PORT": "0",
        "AA_BIND_ADDRESS": "localhost",
        "AA_ISSUER": "https://issuer.example",
        "AA_AUDIENCE": "https://api.example",
        "AA_TRUST_DOMAIN": "corp.example",
        "AA_MAX_TTL": "120",
        "AA_ADMIN_TOKEN_TTL": "70",
        "AA_APP_TOKEN_TTL": "80",
    }
    with started("dev-broker", **names) as process:
        found = exports(process, LAST)
        url = found["AGENTWRIT_BROKER_URL"]
        with AgentWritApp(url, found["AGENTWRIT_CLIENT_ID"], found[LAST]) as app:
            claims = app.validate(app.create_agent("o", "t", ["read:customers:1"]).access_token).claims
        assert claims is not None
        assert (claims.iss, claims.aud) == ("https://issuer.example", ("https://api.example",))
        assert claims.sub.startswith("spiffe://corp.example/agent/")
        assert claims.exp - claims.iat == 120
        login = httpx.post(f"{url}/v1/admin/auth", json={"secret": "from-the-environment"}, trust_env=False)
        assert login.json()["expires_in"] == 70
        app_login = {"client_id": found["AGENTWRIT_CLIENT_ID"], "client_secret": found[LAST]}
        assert httpx.post(f"{url}/v1/app/auth", json=app_login, trust_env=False).json()["expires_in"] == 80


@pytest.mark.parametrize("by_name", [True, False])
def test_given_secret_is_not_said_again(by_name: bool) -> None:
    secret = "s3cret-of-the-operator"
    options = [] if by_name else ["--admin-secret", secret]
    names = {"AA_ADMIN_SECRET": secret} if by_name else {}
    with started("dev-broker", "--port", "0", "-v", *options, **names) as process:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if LAST in line:
                break
        url = next(line for line in printed if "BROKER_URL" in line).strip().partition("=")[2]
        for sent in (secret, "wrong"):
            httpx.post(f"{url}/v1/admin/auth", json={"secret": sent}, trust_env=False)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    assert secret not in "".join(printed)


def test_says_which_names_it_ignores() -> None:
    names = {
        "AA_TLS_MODE": "tls",
        "AA_SEED_TOKENS": "true",
        "AA_DEFAULT_TTL": "60",
        "AA_ADMIN_SECRET": "honoured",
        "AA_EMPTY": "",
        "AAA": "not the broker's",
    }
    with started("dev-broker", "--port", "0", **names) as process:
        exports(process, LAST)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    said = "agentwrit-guard: dev-broker ignores AA_DEFAULT_TTL, AA_SEED_TOKENS, AA_TLS_MODE\n"
    assert (process.returncode, err) == (0, said)


def test_ends_when_nobody_reads_what_it_prints() -> None:
    with started("dev-broker", "--port", "0") as process:
        assert process.stdout is not None
        process.stdout.close()
        # 128 and the number of SIGPIPE, as for any command.
        assert process.wait(timeout=20) == 141


def test_warns_beyond_loopback() -> None:
    with started("dev-broker", "--port", "0", "--host", "0.0.0.0") as process:
        exports(process, LAST)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "agentwrit-guard: dev-broker listens beyond this machine\n")


def test_port_taken(broker: DevBroker) -> None:
    port = str(urlsplit(broker.url).port)
    assert f"127.0.0.1:{port}" in one_line(run("dev-broker", "--port", port))


@pytest.mark.parametrize(
    "arguments, environment, said",
    [
        (["--app", "demo"], {}, "--app is NAME=SCOPE,SCOPE,..."),
        (["--app", "=read:data:*"], {}, "--app is NAME=SCOPE,SCOPE,..."),
        (["--app", "demo=read:data:1\nexport X=1"], {}, "--app is NAME=SCOPE,SCOPE,..."),
        (["--app", "demo=read:data:*", "--app", "demo=a:b:c"], {}, "--app: a NAME can be given only once"),
        (["--app", "Demo=read:data:*"], {}, "--app Demo: invalid app name"),
        (["--app", "other=a:b:c", "--app", "demo=read"], {}, "--app demo: invalid scope format"),
        (["--app", "demo=read:data:*,"], {}, "--app demo: invalid scope format"),
        (["--port", "65536"], {}, "port must be from 0 to 65535"),
        (["--port", "x"], {}, "invalid int value: 'x'"),
        ([], {"AA_PORT": "x"}, "AA_PORT must be a whole number"),
        ([], {"AA_PORT": "65536"}, "AA_PORT must be a whole number from 0 to 65535, got '65536'"),
        ([], {"AA_MAX_TTL": "0"}, "AA_MAX_TTL must be a whole number from 1 to 1000000000, got '0'"),
        ([], {"AA_ADMIN_TOKEN_TTL": "1.5"}, "AA_ADMIN_TOKEN_TTL must be a whole number"),
        ([], {"AA_APP_TOKEN_TTL": "-60"}, "AA_APP_TOKEN_TTL must be a whole number"),
        ([], {"AA_MAX_TTL": "9" * 5000}, "AA_MAX_TTL must be a whole number"),
        (["--admin-secret", "é" * 37], {}, "the admin secret must not have more than 72 bytes"),
        ([], {"AA_ADMIN_SECRET": "x" * 73}, "the admin secret must not have more than 72 bytes"),
        (["--host", "no.such.host.invalid"], {}, "cannot listen on no.such.host.invalid"),
    ],
)
def test_bad_input(arguments: list[str], environment: dict[str, str], said: str) -> None:
    ports = [] if "--port" in arguments or "AA_PORT" in environment else ["--port", "0"]
    assert said in one_line(run("dev-broker", *ports, *arguments, **environment))
