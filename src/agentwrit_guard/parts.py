"""What a guard is put together from, once, out of its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from agentwrit_guard.core.breaker import Breaker
from agentwrit_guard.core.budget import Budget
from agentwrit_guard.core.cache import IdentityCache, TokenHash
from agentwrit_guard.core.deny import DenyList
from agentwrit_guard.core.engine import Engine
from agentwrit_guard.core.inspection import IAT_AHEAD
from agentwrit_guard.core.load import Load
from agentwrit_guard.denyfile import DenyFile
from agentwrit_guard.link import AsyncLink, Link
from agentwrit_guard.pins import PinnedKeys
from agentwrit_guard.places import Places
from agentwrit_guard.records import Hook, Recorder
from agentwrit_guard.settings import Settings
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
    link: Link
    alink: AsyncLink
    recorder: Recorder

    @classmethod
    def of(cls, settings: Settings, monotonic: Callable[[], float], hooks: tuple[Hook, ...]) -> Parts:
        """ConfigurationError for a file among the settings that cannot be used."""
        recorder = Recorder({name: str(getattr(settings, name)) for name in _SHOWN}, monotonic, hooks)
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
        cache = IdentityCache(settings.cache_size, settings.cache_size)
        load = Load(
            Breaker(settings.breaker_failures, monotonic, recorder.event),
            Budget(settings.unknown_token_rate, settings.unknown_token_burst, settings.queue_timeout, monotonic),
        )
        denied = DenyList(settings.max_token_lifetime + IAT_AHEAD, monotonic)
        deny_file = DenyFile(settings.deny_file, denied, monotonic, recorder.event) if settings.deny_file else None
        engine = Engine(policy, cache, token_hash, denied, load, keys=keys, notice=recorder.event)
        link, alink = Link(options, places), AsyncLink(options, places)
        return cls(engine, cache, denied, deny_file, load, link, alink, recorder)

    def reset(self) -> None:
        """For a forked child: no lock that a thread of the parent holds, and none of the parent's identities."""
        self.cache.reset()
        self.denied.reset()
        self.load.reset()
        self.recorder.reset()
        if self.deny_file is not None:
            self.deny_file.reset()
