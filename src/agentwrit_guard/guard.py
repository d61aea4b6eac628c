"""The guard: settings in, decisions out. Everything else in the package feeds it or translates what it says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from agentwrit_guard.clock import Clock
from agentwrit_guard.core.bearer import token_in_query
from agentwrit_guard.core.decisions import Allowed, Denied, Reason
from agentwrit_guard.core.engine import ANY_AGENT
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.lookup import Lookup
from agentwrit_guard.core.requirements import Params, Requirement
from agentwrit_guard.core.shadow import Until
from agentwrit_guard.errors import BrokerUnavailable, ConfigurationError
from agentwrit_guard.hooks import Hook
from agentwrit_guard.operations import Operations
from agentwrit_guard.records import warn_of_shadow
from agentwrit_guard.settings import Settings

__all__ = ["Clock", "Guard"]

_NO_PARAMS: Final[Params] = {}


class Guard(Operations):
    """Decides whether a request's bearer token is a valid agent's and whether it reaches what is asked for.

    Every setting may also come from the environment (`Guard.from_env`) or Flask's config; see the settings page.
    `cache_ttl` is how many seconds a revocation at the broker may go unseen (0 to 60, 0 asks every time),
    `timeout` the whole of one broker call in seconds, `stale_if_error` how many seconds past its TTL an identity still
    counts while the broker cannot be asked, `max_token_lifetime` the cap in seconds on `exp - iat` of any
    token. `resources` is the local ceiling: scopes of other resources count for nothing here. `pinned_keys` are files
    with the broker's public key: tokens that it has not signed are refused without a call. With `enforce=False` the
    fronts record refusals and let the requests through, to the end of the day `until` (UTC). `on_decision` is called
    with each `DecisionEvent`. ConfigurationError names a setting that cannot be used.

    Threads and event loops may share one guard. Connections open on first use and after a fork anew.
    """

    def __init__(
        self,
        broker_url: str,
        *,
        audience: str | None = None,
        issuer: str | None = None,
        trust_domain: str | None = None,
        principal_kinds: Sequence[str] = ("agent",),
        cache_ttl: float = 5.0,
        cache_size: int = 10_000,
        timeout: float = 2.0,
        stale_if_error: float = 0.0,
        recheck_interval: float = 30.0,
        max_token_lifetime: int = 3600,
        max_in_flight: int = 32,
        queue_timeout: float = 0.25,
        unknown_token_rate: float = 50.0,
        unknown_token_burst: int = 100,
        breaker_failures: int = 5,
        deny_file: str | None = None,
        chain_loops: str = "allow",
        resources: Collection[str] | None = None,
        pinned_keys: Sequence[str] = (),
        pinned_thumbprints: Sequence[str] = (),
        realm: str = "agentwrit",
        enforce: bool = True,
        until: Until = None,
        allow_http: bool = False,
        ca_file: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        clock: Clock | None = None,
        on_decision: Hook | None = None,
    ) -> None:
        settings = Settings(
            broker_url=broker_url,
            audience=audience,
            issuer=issuer,
            trust_domain=trust_domain,
            principal_kinds=principal_kinds,
            cache_ttl=cache_ttl,
            cache_size=cache_size,
            timeout=timeout,
            stale_if_error=stale_if_error,
            recheck_interval=recheck_interval,
            max_token_lifetime=max_token_lifetime,
            max_in_flight=max_in_flight,
            queue_timeout=queue_timeout,
            unknown_token_rate=unknown_token_rate,
            unknown_token_burst=unknown_token_burst,
            breaker_failures=breaker_failures,
            deny_file=deny_file,
            chain_loops=chain_loops,
            resources=resources,
            pinned_keys=pinned_keys,
            pinned_thumbprints=pinned_thumbprints,
            realm=realm,
            enforce=enforce,
            until=until,
            allow_http=allow_http,
            ca_file=ca_file,
            client_cert=client_cert,
            client_key=client_key,
        )
        self._set_up(settings, clock, on_decision)

    @classmethod
    def from_env(cls, *, clock: Clock | None = None, on_decision: Hook | None = None, **settings: Any) -> Guard:
        """A guard from the AGENTWRIT_ names of the environment as it is now; `settings` given here win."""
        return cls.from_settings(Settings.from_env(**settings), clock=clock, on_decision=on_decision)

    @classmethod
    def from_settings(cls, settings: Settings, *, clock: Clock | None = None, on_decision: Hook | None = None) -> Guard:
        guard = cls.__new__(cls)
        guard._set_up(settings, clock, on_decision)
        return guard

    def _set_up(self, settings: Settings, clock: Clock | None, on_decision: Hook | None) -> None:
        if on_decision is not None and not callable(on_decision):
            raise ConfigurationError(f"on_decision must be a function of a DecisionEvent, got {on_decision!r}")
        if clock is not None and not isinstance(clock, Clock):
            raise ConfigurationError(f"clock must be a Clock, got {clock!r}")
        self.settings = settings
        super().__init__(settings, clock or Clock(), (on_decision,) if on_decision else ())
        self._link, self._alink = self._parts.link, self._parts.alink
        self._deny_file = self._parts.deny_file
        # How old an identity may get while its request goes on, in seconds.
        self._lasts = max(settings.cache_ttl, settings.timeout)
        self._stale_lasts = settings.cache_ttl + settings.stale_if_error
        self._shadow_end = settings.shadow_end
        if self._shadow_end is not None:
            warn_of_shadow(repr(self), self._shadow_end, self._clock.wall())

    def __repr__(self) -> str:
        return f"Guard({self.settings.broker_url!r})"

    @property
    def realm(self) -> str:
        return self.settings.realm

    def age(self, allowed: Allowed) -> float:
        """Seconds since the call that validated an identity began."""
        return self._clock.wall() - allowed.principal.validated_at

    def monotonic(self) -> float:
        """The time that the guard counts ages by, in seconds."""
        return self._clock.monotonic()

    def decide(
        self,
        authorization: Sequence[bytes],
        requirement: Requirement | None = None,
        params: Params | None = None,
        *,
        query: bytes = b"",
    ) -> Allowed | Denied | Lookup:
        """Decide without waiting. A Lookup goes to `settle` or `asettle`.

        `authorization` is the value of every Authorization header of the request, `requirement` None any valid
        agent, `params` the route's parameters, `query` the query string, looked at only to refuse a second token.
        """
        if query and authorization and token_in_query(query):
            return self._engine.refuse(Reason.CREDENTIALS_IN_QUERY)
        if requirement is None:
            requirement = ANY_AGENT
        elif not isinstance(requirement, Requirement):
            raise ConfigurationError(f"requirement must be a Requirement or None, got {requirement!r}")
        now = self._clock.now() if self._deny_file is None else self._now()
        return self._engine.decide(authorization, requirement, params or _NO_PARAMS, now)

    def settle(self, lookup: Lookup) -> Allowed | Denied:
        """Ask the broker, or join a call that is asking already, and decide. At most `timeout` seconds."""
        started = self._clock.now()
        try:
            outcome = self._link.share(
                lookup.key,
                lambda: self._engine.validation(lookup, started),
                now=started,
                max_age=self._engine.max_age(lookup.requirement),
            )
        except BrokerUnavailable as fault:
            outcome = self._engine.unavailable(fault)
        return self._engine.conclude(outcome, lookup, self._now())

    async def asettle(self, lookup: Lookup) -> Allowed | Denied:
        """As `settle`, without blocking the event loop (asyncio)."""
        started = self._clock.now()
        try:
            outcome = await self._alink.share(
                lookup.key,
                lambda: self._engine.validation(lookup, started),
                now=started,
                max_age=self._engine.max_age(lookup.requirement),
            )
        except BrokerUnavailable as fault:
            outcome = self._engine.unavailable(fault)
        return self._engine.conclude(outcome, lookup, self._now())

    def check(
        self,
        authorization: Sequence[bytes],
        requirement: Requirement | None = None,
        params: Params | None = None,
        *,
        query: bytes = b"",
    ) -> Allowed | Denied:
        """`decide`, and `settle` if it comes to that."""
        decision = self.decide(authorization, requirement, params, query=query)
        return self.settle(decision) if isinstance(decision, Lookup) else decision

    async def acheck(
        self,
        authorization: Sequence[bytes],
        requirement: Requirement | None = None,
        params: Params | None = None,
        *,
        query: bytes = b"",
    ) -> Allowed | Denied:
        """`decide`, and `asettle` if it comes to that."""
        decision = self.decide(authorization, requirement, params, query=query)
        return await self.asettle(decision) if isinstance(decision, Lookup) else decision

    def enforces(self, requirement: Requirement = ANY_AGENT) -> bool:
        """Whether a refusal binds: not in shadow mode, be it the guard's own or that of the requirement."""
        ends = max(self._shadow_end or 0.0, requirement.shadow_end or 0.0)
        return not ends or self._clock.wall() >= ends

    def settle_aside(
        self, lookup: Lookup, seconds: float, late: Callable[[Allowed | Denied], None]
    ) -> Allowed | Denied | None:
        """As `settle`, waiting at most `seconds`: then None, and `late` is told of what it comes to."""
        try:
            return self._parts.aside.waited(lambda: self.settle(lookup), seconds, late)
        except BrokerUnavailable as fault:
            return self._engine.unavailable(fault)

    async def asettle_aside(
        self, lookup: Lookup, seconds: float, late: Callable[[Allowed | Denied], None]
    ) -> Allowed | Denied | None:
        """As `settle_aside`, without blocking the event loop (asyncio)."""
        try:
            return await self._parts.aside.awaited(lambda: self.asettle(lookup), seconds, late)
        except BrokerUnavailable as fault:
            return self._engine.unavailable(fault)

    def rejudge(
        self, allowed: Allowed, requirement: Requirement, params: Params | None = None
    ) -> Allowed | Denied | None:
        """`judge` an identity that was let in further out; None where it is too old by now, and `decide` has to.

        It is for a requirement with a `max_age`, and when the request has been held up since: by a slow body, say,
        which its sender paces. What was asked for this very request is good for `timeout` seconds at least.
        """
        if requirement.max_age is not None:
            return None
        now = self._now()
        limit = self._lasts if allowed.source != "stale" else self._stale_lasts
        if not 0 <= now.wall - allowed.principal.validated_at < limit:
            return None
        return self._engine.judge(allowed, requirement, params or _NO_PARAMS, now)

    def judge(self, allowed: Allowed, requirement: Requirement, params: Params | None = None) -> Allowed | Denied:
        """Judge a requirement on an identity that this guard let in a moment ago.

        For a requirement with a `max_age` use `check` or `acheck`, which know how old the identity is.
        """
        return self._engine.judge(allowed, requirement, params or _NO_PARAMS, self._now())

    def close(self) -> None:
        """Close the sync connections. Use after it opens new ones."""
        self._parts.aside.close()
        self._link.close()

    async def aclose(self) -> None:
        """Close the sync connections, and those of the running event loop."""
        try:
            self.close()
        finally:
            await self._alink.aclose()

    def _now(self) -> Instant:
        """The time of a decision, with the deny file as it is by then."""
        now = self._clock.now()
        if self._deny_file is not None:
            self._deny_file.look(now.monotonic)
        return now
