"""Token buckets for the two authentication endpoints (contract section 2)."""

from __future__ import annotations


class Buckets:
    """One bucket a key: `burst` requests at once, refilled with `rate` a second on the caller's clock."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, key: str, now: float) -> bool:
        """Whether one more request of `key` may pass at `now`; a refused one uses nothing up."""
        level, since = self._levels.get(key, (float(self._burst), now))
        level = min(self._burst, level + max(0.0, now - since) * self._rate)
        # Refills are sums of floats: without the slack a request due exactly now could be refused.
        allowed = level >= 1 - 1e-6
        self._levels[key] = (level - 1 if allowed else level, now)
        return allowed
