"""Settings of a guard: one name in three spellings (keyword, environment, Flask's config), checked at start-up."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from agentwrit_guard.brokerurl import broker_url
from agentwrit_guard.core.bearer import valid_realm
from agentwrit_guard.core.policy import Policy
from agentwrit_guard.core.shadow import Until, last_day, shadow_end
from agentwrit_guard.errors import ConfigurationError

PREFIX: Final = "AGENTWRIT_"
_KINDS: Final = ("agent", "app", "admin")
_RESOURCE = re.compile(r"[^\s:*]+")
_DOMAIN = re.compile(r"[a-z0-9._-]+")
# Names under the same prefix that other parts read: the client, the commands, the tests.
_OTHERS: Final = frozenset(("CLIENT_ID", "CLIENT_SECRET", "ADMIN_SECRET", "VECTORS", "WIRE", "WYCHEPROOF"))

_events = logging.getLogger("agentwrit_guard.events")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Times in seconds. Lists are kept as tuples. ConfigurationError names the setting at fault."""

    broker_url: str
    audience: str | None = None
    issuer: str | None = None
    trust_domain: str | None = None
    principal_kinds: Sequence[str] = ("agent",)
    cache_ttl: float = 5.0
    cache_size: int = 10_000
    timeout: float = 2.0
    stale_if_error: float = 0.0
    recheck_interval: float = 30.0
    max_token_lifetime: int = 3600
    max_in_flight: int = 32
    queue_timeout: float = 0.25
    unknown_token_rate: float = 50.0
    unknown_token_burst: int = 100
    breaker_failures: int = 5
    deny_file: str | None = None
    chain_loops: str = "allow"
    resources: Collection[str] | None = None
    pinned_keys: Sequence[str] = ()
    pinned_thumbprints: Sequence[str] = ()
    realm: str = "agentwrit"
    enforce: bool = True
    until: Until = None
    allow_http: bool = False
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def __post_init__(self) -> None:
        _flag("allow_http", self.allow_http)
        object.__setattr__(self, "broker_url", broker_url(self.broker_url, allow_http=self.allow_http))
        for name in ("audience", "issuer", "trust_domain", "deny_file", "ca_file", "client_cert", "client_key"):
            _text(name, getattr(self, name))
        if self.trust_domain is not None and not _DOMAIN.fullmatch(self.trust_domain):
            raise ConfigurationError(
                f"trust_domain must be a lower-case name without scheme, got {self.trust_domain!r}"
            )
        end = shadow_end(self.enforce, self.until)
        object.__setattr__(self, "until", None if end is None else last_day(end))
        object.__setattr__(self, "principal_kinds", _kinds(self.principal_kinds))
        _number("cache_ttl", self.cache_ttl, low=0, high=60)
        _number("stale_if_error", self.stale_if_error, low=0, high=60)
        _number("recheck_interval", self.recheck_interval, low=0, high=86_400)
        _number("timeout", self.timeout, low=0.05, high=60)
        _number("cache_size", self.cache_size, low=1, high=10_000_000, whole=True)
        _number("max_token_lifetime", self.max_token_lifetime, low=1, high=31_536_000, whole=True)
        _number("max_in_flight", self.max_in_flight, low=1, high=1024, whole=True)
        _number("queue_timeout", self.queue_timeout, low=0, high=60)
        _number("unknown_token_rate", self.unknown_token_rate, low=0.01, high=1_000_000)
        _number("unknown_token_burst", self.unknown_token_burst, low=1, high=1_000_000, whole=True)
        _number("breaker_failures", self.breaker_failures, low=1, high=1_000_000, whole=True)
        if self.chain_loops not in ("allow", "deny"):
            raise ConfigurationError(f"chain_loops must be 'allow' or 'deny', got {self.chain_loops!r}")
        if self.resources is not None:
            resources = _texts("resources", self.resources)
            if not resources or any(not _RESOURCE.fullmatch(name) for name in resources):
                raise ConfigurationError(
                    f"resources must name at least one, each as in the middle of a scope, got {self.resources!r}"
                )
            object.__setattr__(self, "resources", tuple(sorted(set(resources))))
        for name in ("pinned_keys", "pinned_thumbprints"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        if self.pinned_thumbprints and not self.pinned_keys:
            raise ConfigurationError("pinned_thumbprints is set without pinned_keys: the keys come from files")
        if not isinstance(self.realm, str) or not valid_realm(self.realm):
            raise ConfigurationError(f"realm must be printable ASCII without quotes or backslashes, got {self.realm!r}")
        if self.client_key is not None and self.client_cert is None:
            raise ConfigurationError("client_key is set without client_cert")

    @property
    def shadow_end(self) -> float | None:
        return shadow_end(self.enforce, self.until)

    @property
    def policy(self) -> Policy:
        return Policy(
            issuer=self.issuer,
            audience=self.audience,
            trust_domain=self.trust_domain,
            principal_kinds=tuple(self.principal_kinds),
            max_token_lifetime=self.max_token_lifetime,
            chain_loops=self.chain_loops,
            cache_ttl=self.cache_ttl,
            realm=self.realm,
            resources=None if self.resources is None else frozenset(self.resources),
            stale_if_error=self.stale_if_error,
        )

    @classmethod
    def read(cls, values: Mapping[str, Any], **keywords: Any) -> Settings:
        """From names such as AGENTWRIT_CACHE_TTL, in an environment or a config; keywords win.

        An unknown AGENTWRIT_ name is warned of, because a misspelt one would leave a default in force.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        found: dict[str, Any] = {}
        for key, value in values.items():
            if not key.startswith(PREFIX) or value is None:
                continue
            name = key[len(PREFIX) :].lower()
            if name in fields:
                found[name] = _convert(key, value, _READERS.get(name)) if isinstance(value, str) else value
            elif key[len(PREFIX) :] not in _OTHERS:
                _events.warning("unknown setting %s is ignored", key, extra={"event": "unknown_setting"})
        found.update({name: value for name, value in keywords.items() if value is not None})
        if "broker_url" not in found:
            raise ConfigurationError("broker_url is not set; give it, or set AGENTWRIT_BROKER_URL")
        unknown = set(found) - set(fields)
        if unknown:
            raise ConfigurationError(f"unknown setting {', '.join(sorted(unknown))}")
        return cls(**found)

    @classmethod
    def from_env(cls, **keywords: Any) -> Settings:
        return cls.read(os.environ, **keywords)


def listed(text: str) -> tuple[str, ...]:
    """A list as the environment spells it."""
    return tuple(part.strip() for part in text.split(","))


def _convert(key: str, text: str, reader: Callable[[str], Any] | None) -> Any:
    try:
        return text if reader is None else reader(text)
    except ValueError:
        raise ConfigurationError(f"{key} cannot be read: {text!r}") from None


def switch(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(text)


def chosen(text: str) -> bool:
    """A switch that has no meaning when it is empty: a variable that was not filled in must not open anything."""
    if not text:
        raise ValueError(text)
    return switch(text)


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "cache_ttl": float,
    "timeout": float,
    "cache_size": int,
    "max_token_lifetime": int,
    "max_in_flight": int,
    "stale_if_error": float,
    "recheck_interval": float,
    "queue_timeout": float,
    "unknown_token_rate": float,
    "unknown_token_burst": int,
    "breaker_failures": int,
    "enforce": chosen,
    "allow_http": switch,
    "principal_kinds": listed,
    "resources": listed,
    "pinned_keys": listed,
    "pinned_thumbprints": listed,
}


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} must be True or False, got {value!r}")


def _text(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigurationError(f"{name} must be a non-empty string or left out, got {value!r}")


def _texts(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Collection):
        raise ConfigurationError(f"{name} must be a list of texts, got {value!r}")
    if any(not isinstance(text, str) or not text for text in value):
        raise ConfigurationError(f"{name} must be a list of non-empty texts, got {value!r}")
    return tuple(value)


def _number(name: str, value: object, *, low: float, high: float, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise ConfigurationError(
            f"{name} must be {'a whole' if whole else 'a'} number from {low} to {high}, got {value!r}"
        )


def _kinds(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, (tuple, list, set, frozenset)):
        raise ConfigurationError(f"principal_kinds must be a list of {', '.join(_KINDS)}, got {value!r}")
    if not value or any(kind not in _KINDS for kind in value):
        raise ConfigurationError(f"principal_kinds must name some of {', '.join(_KINDS)}, got {value!r}")
    return tuple(kind for kind in _KINDS if kind in value)
