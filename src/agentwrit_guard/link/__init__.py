"""The two runners that know sync from async: they carry a `Flow` to the broker and back (threats B).

Both hold one pooled client, opened on first use, and give every call one total deadline that bounds name
resolution, connecting, waiting for a free connection and a dripping answer alike. Nothing comes from the
environment, no redirect is followed, no encoding is accepted, and an answer is read up to 64 KiB.

Equal lookups share one call. Sync: the first caller drives it, and the others wait for its `Future`. Async: a task of
its own, so that a cancelled caller cancels only itself. A call is joined only while the caller finds it young enough
and its deadline lies ahead.
"""

from agentwrit_guard.link.loops import AsyncLink
from agentwrit_guard.link.threads import Link

__all__ = ["AsyncLink", "Link"]
