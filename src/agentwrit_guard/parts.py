"""What a guard is put together from, once, out of its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agentwrit_guard.aside import Aside
from agentwrit_guard.clock import Clock
from agentwrit_guard.core.breaker import Breaker
from agentwrit_guard.core.budget import Budget
from agentwrit_guard.core.cache import IdentityCache, TokenHash
from agentwrit_guard.core.decisions import Allowed, Denied
from agentwrit_guard.core.deny import DenyList
from agentwrit_guard.core.engine import Engine
from agentwrit_guard.core.inspection import IAT_AHEAD
from agentwrit_guard.core.instant import Instant
from agentwrit_guard.core.load import Load
from agentwrit_guard.core.witness import Witness
from agentwrit_guard.denyfile import DenyFile
from agentwrit_guard.hooks import Hook, Hooks
from agentwrit_guard.link import AsyncLink, Link
from agentwrit_guard.pins import PinnedKeys
from agentwrit_guard.places import Places
from agentwrit_guard.records import Recorder
from agentwrit_guard.settings import Settings
from agentwrit_guard.stats import Stats
from agentwrit_guard.transport import LinkOptions

# Settings that an explanation may name.
_SHOWN: Final = ("max_token_lifetime", "trust_domain", "principal_kinds", "resources")


@dataclass(frozen=True)
class Parts:
    """One of each. `engine` decides; the rest is what it goes by, asks through and tells."""

    engine: Engine
    cache: IdentityCache
    denied: DenyList
    deny_file: DenyFile | None
    load: Load
    places: Places
    witness: Witness
    link: Link
    alink: AsyncLink
    hooks: Hooks
    recorder: Recorder
    aside: Aside[Allowed | Denied]

    @classmethod
    def of(cls, settings: Settings, clock: Callable[[], Clock], hooks: tuple[Hook, ...]) -> Parts:
        """`clock` gives the one that the guard goes by now. ConfigurationError for a file that cannot be used."""

        def monotonic() -> float:
            return clock().monotonic()

        told = Hooks(hooks)
        recorder = Recorder({name: str(getattr(settings, name)) for name in _SHOWN}, monotonic, told)
        options = LinkOptions(
            settings.broker_url,
            settings.timeout,
            settings.max_in_flight,
            settings.ca_file,
            settings.client_cert,
            settings.client_key,
        )
        places = Places(settings.max_in_flight, settings.queue_timeout)
        keys = PinnedKeys.load(settings.pinned_keys, settings.pinned_thumbprints) if settings.pinned_keys else None
        policy = settings.policy
        token_hash = TokenHash(settings.broker_url, repr(policy), *(keys.thumbprints if keys else ()))
        cache = IdentityCache(settings.cache_size, settings.cache_size, policy.resources)
        load = Load(
            Breaker(settings.breaker_failures, monotonic, recorder.event),
            Budget(settings.unknown_token_rate, settings.unknown_token_burst, settings.queue_timeout, monotonic),
        )
        denied = DenyList(settings.max_token_lifetime + IAT_AHEAD, monotonic)
        deny_file = DenyFile(settings.deny_file, denied, monotonic, recorder.event) if settings.deny_file else None
        witness = Witness(monotonic, lambda: clock().wall(), recorder.event, told.validated)
        engine = Engine(policy, cache, token_hash, denied, load, keys=keys, notice=recorder.event, witness=witness)
        link, alink = Link(options, places), AsyncLink(options, places)
        return cls(engine, cache, denied, deny_file, load, places, witness, link, alink, told, recorder, Aside())

    def stats(self, now: Instant) -> Stats:
        witness, outcomes = self.witness, self.witness.outcomes
        identities, rejected, tombstones = self.cache.sizes()
        denied, denied_by_file = self.denied.sizes()
        answered, skew, state = witness.answered, witness.skew, self.load.breaker.state
        return Stats(
            uptime=max(0.0, now.monotonic - witness.since),
            cached=witness.cached,
            lookups=witness.lookups,
            valid=outcomes["valid"],
            invalid=outcomes["invalid"],
            unavailable=outcomes["unavailable"],
            in_flight=self.places.taken,
            waiting=self.places.waiting,
            identities=identities,
            rejected=rejected,
            tombstones=tombstones,
            denied=denied,
            denied_by_file=denied_by_file,
            breaker=state,
            degraded=state != "closed",
            budget_left=self.load.budget.left,
            answered=None if answered is None else max(0.0, now.monotonic - answered),
            clock_skew=None if skew is None else skew.seconds,
        )

    def reset(self) -> None:
        """For a forked child: no lock that a thread of the parent holds, and none of the parent's identities."""
        self.cache.reset()
        self.denied.reset()
        self.load.reset()
        self.witness.reset()
        self.hooks.reset()
        self.recorder.reset()
        self.aside.reset()
        if self.deny_file is not None:
            self.deny_file.reset()
