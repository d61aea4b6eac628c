"""Random histories of a broker, made at the twin and told to the model, which then judge every token of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import httpx
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from agentwrit_guard.devbroker import DevBroker
from tests.broker import model
from tests.broker.kit import claims_of
from tests.broker.model import Token
from tests.broker.quick import Quick
from tests.kit.clock import Time

MAX_TTL = 3600
AGENT_SCOPES = ["read:data:*", "read:data:1", "read:data:1:2", "read:*:1", "admin:revoke:*"]
APP_SCOPES = ["app:launch-tokens:*", "app:agents:*", "app:audit:read"]
ADMIN_SCOPES = ["admin:launch-tokens:*", "admin:revoke:*", "admin:audit:*"]
TASKS = ["task-a", "task-b", "task-c", "task-d"]

scopes = st.lists(st.sampled_from(AGENT_SCOPES), min_size=1, max_size=2)
# Of the bearer's, wider, malformed, or nothing at all.
scraps = st.lists(st.sampled_from([*AGENT_SCOPES, "app:agents:*", "read:data:"]), max_size=2)
lifetimes = st.sampled_from([None, -1, 0, 1, 5, 600, MAX_TTL, MAX_TTL + 1, 10**9])
tasks = st.sampled_from(TASKS)


def read(text: str) -> Token:
    """What the twin wrote into a token."""
    claims = claims_of(text)
    return Token(
        jti=claims["jti"],
        sub=claims["sub"],
        scope=tuple(claims["scope"]),
        iat=claims["iat"],
        exp=claims["exp"],
        task_id=claims.get("task_id"),
        orch_id=claims.get("orch_id"),
        chain=tuple((record["agent"], tuple(record["scope"])) for record in claims.get("delegation_chain", ())),
    )


class Histories(RuleBasedStateMachine):
    """Each rule is a request, or what happens to the broker. `tokens` holds the dead ones as well."""

    tokens = Bundle("tokens")
    by_agent = st.tuples(st.sampled_from(["agent", "chain"]), tokens.map(lambda token: token.sub))
    by_name = (
        tokens.map(lambda token: ("token", token.jti))
        | st.tuples(st.just("task"), tasks)
        | st.tuples(st.sampled_from(["token", "agent", "chain"]), st.sampled_from(TASKS))  # nobody's
    )

    def __init__(self) -> None:
        super().__init__()
        self.clock = Time(1_800_000_000.25)
        self.model = model.Broker(MAX_TTL, self.clock.now)
        self.issued: dict[Token, str] = {}
        self.exits = ExitStack()
        # No rate limits: they bound logins, not tokens.
        broker = DevBroker(clock=self.clock, rate_limits=False, max_ttl=MAX_TTL, app_token_ttl=1800)
        self.broker = self.exits.enter_context(broker)
        self.client = self.exits.enter_context(Quick(broker))
        self.app = broker.app(scopes=AGENT_SCOPES)
        self.admin = self.logged_in_as_admin()

    def teardown(self) -> None:
        self.exits.close()

    @invariant()
    def judge_every_token_alike(self) -> None:
        answers = {token: self.client.valid(text) for token, text in self.issued.items()}
        assert [token for token, answer in answers.items() if answer != self.model.valid(token)] == []

    @initialize(
        target=tokens,
        scope=scopes,
        own=lifetimes,
        given=lifetimes,
        part=scraps,
        forewarned=st.sampled_from([False, False, False, True]),
    )
    def family(
        self, scope: list[str], own: int | None, given: int | None, part: list[str], forewarned: bool
    ) -> MultipleResults[Token]:
        """Root, middle, leaf and an admin, to draw from. At times what the root passes on is dead from birth."""
        a, b, c = (token for task in TASKS[:3] for token in self.registered(task, TASKS[3], scope, own))
        if forewarned:
            self.revoke("chain", a.sub)
        [ab] = self.delegated(a, b.sub, None, given)
        passed = [ab, *self.delegated(ab, c.sub, None, given), *self.delegated(a, c.sub, part, given)]
        return multiple(a, b, c, self.admin, *passed)

    @rule(target=tokens, as_admin=st.booleans())
    def log_in(self, as_admin: bool) -> Token:
        return self.logged_in_as_admin() if as_admin else self.logged_in_as_app()

    @rule(target=tokens, task=tasks, orch=tasks, scope=scopes, ttl=lifetimes)
    def mint(self, task: str, orch: str, scope: list[str], ttl: int | None) -> MultipleResults[Token]:
        return multiple(*self.registered(task, orch, scope, ttl))

    @rule(target=tokens, bearer=tokens)
    def renew(self, bearer: Token) -> MultipleResults[Token]:
        reply = self.client.post("/v1/token/renew", token=self.issued[bearer])
        renewed = self.outcome(reply, self.model.refusals(bearer), lambda jti: self.model.renew(jti, bearer))
        return multiple(*renewed)

    @rule(bearer=tokens)
    def release(self, bearer: Token) -> None:
        reply = self.client.post("/v1/token/release", token=self.issued[bearer])
        if self.agreed(reply, self.model.refusals(bearer), 204):
            self.model.revoke("token", bearer.jti)

    @rule(target=tokens, bearer=tokens, to=tokens, scope=st.none() | scraps, ttl=lifetimes)
    def delegate(self, bearer: Token, to: Token, scope: list[str] | None, ttl: int | None) -> MultipleResults[Token]:
        """To the holder of any token, so to itself, to apps, and to agents that a restart has made unknown."""
        return multiple(*self.delegated(bearer, to.sub, scope, ttl))

    @rule(target=tokens, bearer=tokens, holders=st.lists(tokens, min_size=4, max_size=model.MAX_DEPTH + 1))
    def hand_down(self, bearer: Token, holders: list[Token]) -> MultipleResults[Token]:
        """From one to the next, so that chains get long; some one more than they may."""
        made: list[Token] = []
        for to in holders:
            made += (child := self.delegated(bearer, to.sub, None, 600))
            bearer = child[0] if child else bearer
        return multiple(*made)

    @rule(revocation=by_agent)
    def revoke_agent(self, revocation: tuple[str, str]) -> None:
        self.revoke(*revocation)

    @rule(revocation=by_name)
    def revoke_name(self, revocation: tuple[str, str]) -> None:
        self.revoke(*revocation)

    @rule(bearer=tokens, revocation=by_agent | by_name)
    def revoke_as(self, bearer: Token, revocation: tuple[str, str]) -> None:
        level, target = revocation
        reply = self.client.post("/v1/revoke", {"level": level, "target": target}, self.issued[bearer])
        if self.agreed(reply, self.model.refusals(bearer, "admin:revoke:*")):
            self.model.revoke(level, target)

    @rule(seconds=st.sampled_from([0.5, 1, 5, 59, MAX_TTL + 1]))
    def wait(self, seconds: float) -> None:
        self.clock.now = self.model.now = self.clock.now + seconds

    @rule(token=tokens, past=st.sampled_from([0, 0.75, 1]))
    def wait_for_expiry(self, token: Token, past: float) -> None:
        self.clock.now = self.model.now = max(self.clock.now, token.exp + past)

    @precondition(lambda self: self.model.agents)
    @rule()
    def restart(self) -> None:
        self.broker.restart()
        self.model.restart()

    def revoke(self, level: str, target: str) -> None:
        self.broker.revoke(level, target)
        self.model.revoke(level, target)

    def agreed(self, reply: httpx.Response, refusals: set[int], success: int = 200) -> bool:
        """Whether both let it happen."""
        assert reply.status_code in (refusals or {success}), reply.text
        return not refusals

    def outcome(self, reply: httpx.Response, refusals: set[int], issue: Callable[[str], Token]) -> list[Token]:
        """The token that both issued, claim for claim; empty when both refused. The twin's word counts for the jti."""
        if not self.agreed(reply, refusals):
            return []
        content = reply.json()
        text = content["access_token"]
        written = read(text)
        assert written.jti not in {token.jti for token in self.issued}
        assert written == issue(written.jti)
        assert content["expires_in"] == written.exp - written.iat
        self.issued[written] = text
        return [written]

    def logged_in_as_admin(self) -> Token:
        reply = self.client.post("/v1/admin/auth", {"secret": self.broker.admin_secret})
        return self.principal(reply, "admin", ADMIN_SCOPES, 300)

    def logged_in_as_app(self) -> Token:
        content = {"client_id": self.app.client_id, "client_secret": self.app.client_secret}
        return self.principal(self.client.post("/v1/app/auth", content), f"app:{self.app.app_id}", APP_SCOPES, 1800)

    def principal(self, reply: httpx.Response, sub: str, scope: Sequence[str], ttl: int) -> Token:
        now = int(self.clock.now)
        [token] = self.outcome(reply, set(), lambda jti: Token(jti, sub, tuple(scope), now, now + ttl))
        return token

    def registered(self, task: str, orch: str, scope: list[str], ttl: int | None) -> list[Token]:
        """An agent under an admin's launch token; none when admins are revoked."""
        if not self.model.valid(self.admin):
            self.admin = self.logged_in_as_admin()
        policy = {"agent_name": "agent", "allowed_scope": scope, "max_ttl": ttl}
        launched = self.client.post("/v1/admin/launch-tokens", policy, self.issued[self.admin])
        if not self.agreed(launched, self.model.refusals(self.admin, "admin:launch-tokens:*"), 201):
            return []
        launch_token = launched.json()["launch_token"]
        reply = self.client.register(launch_token, orch_id=orch, task_id=task, requested_scope=scope)

        def issue(jti: str) -> Token:
            return self.model.register(jti, reply.json()["agent_id"], task, orch, scope, ttl)

        return self.outcome(reply, set(), issue)

    def delegated(self, bearer: Token, to: str, scope: Sequence[str] | None, ttl: int | None) -> list[Token]:
        scope = bearer.scope if scope is None else scope
        reply = self.client.delegate(self.issued[bearer], to, list(scope), ttl=ttl)
        refusals = self.model.refusals_to_delegate(bearer, to, scope)
        return self.outcome(reply, refusals, lambda jti: self.model.delegate(jti, bearer, to, scope, ttl))
