"""What an operator asks: revocation, the audit log, health and metrics (contract sections 5 and 7)."""

from __future__ import annotations

import math
import re

from starlette.responses import Response

from agentwrit_guard.devbroker import times
from agentwrit_guard.devbroker.call import ADMIN_AUDIT, ADMIN_REVOKE, Call
from agentwrit_guard.devbroker.problems import Problem, reply
from agentwrit_guard.devbroker.state import LEVELS, Broker

VERSION = "2.0.0"
_PAGE = 100
_LARGEST_PAGE = 1000
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def revoke(call: Call) -> Response:
    """POST /v1/revoke: always a count of 1, for unknown targets and repeats too."""
    call.bearer(ADMIN_REVOKE)
    fields = call.fields()
    level, target = fields.text("level"), fields.text("target")
    if not level or not target:
        raise Problem(400, "level and target are required")
    if level not in LEVELS:
        raise Problem(400, f"invalid revocation level: {level}")
    revoke_now(call.broker, level, target)
    return reply({"revoked": True, "level": level, "target": target, "count": 1})


def revoke_now(broker: Broker, level: str, target: str) -> None:
    """Revoke and write it to the audit log."""
    broker.revoke(level, target)
    broker.audit.append(broker.clock(), "token_revoked", f"level={level} target={target}")


def audit_events(call: Call) -> Response:
    """GET /v1/audit/events: query values that do not parse are ignored in silence, as are fields of other names."""
    call.bearer(ADMIN_AUDIT)
    query = call.request.query_params
    limit = _number(query.get("limit"), 1, _PAGE)
    offset = _number(query.get("offset"), 0, 0)
    found = call.broker.audit.find(query.get("event_type", ""), times.epoch(query.get("since", "")))
    page = found[offset : offset + min(limit, _LARGEST_PAGE)]
    # The limit is echoed as asked for, not as applied.
    events = [event.wire() for event in page]
    return reply({"events": events, "total": len(found), "offset": offset, "limit": limit})


def health(call: Call) -> Response:
    """GET /v1/health: shows no key, whatever the docs say."""
    broker = call.broker
    return reply(
        {
            "status": "ok",
            "version": VERSION,
            "uptime": math.floor(call.now - broker.started_at),
            "db_connected": True,
            "audit_events_count": len(broker.audit),
        }
    )


def metrics(call: Call) -> Response:
    """GET /v1/metrics."""
    broker = call.broker
    loaded = broker.events_loaded
    text = broker.metrics.text(agents=len(broker.agents), written=broker.audit.types(loaded), loaded=loaded)
    media_type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
    return Response(text, media_type=media_type)


def _number(text: str | None, least: int, default: int) -> int:
    if text is None or _INTEGER.fullmatch(text) is None or int(text) < least:
        return default
    return int(text)
