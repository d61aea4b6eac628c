"""App records under /v1/admin/apps (contract section 5).

Which of the admin scopes these endpoints look at was not measured; nor the order in which a new app is checked.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

from starlette.responses import Response

from agentwrit_guard.devbroker import scopes
from agentwrit_guard.devbroker.call import ADMIN_LAUNCH, Call
from agentwrit_guard.devbroker.problems import Problem, reply
from agentwrit_guard.devbroker.state import App, Broker, digest

# No upper bound was measured.
_NAME = re.compile(r"[a-z0-9-]{2,}")
_TTL = range(60, 86401)


def create(call: Call) -> Response:
    """POST /v1/admin/apps: the one reply that shows the client secret."""
    call.bearer(ADMIN_LAUNCH)
    fields = call.fields()
    name, ceiling, ttl = fields.text("name"), fields.texts("scopes"), fields.integer("token_ttl")
    app, secret = register(call.broker, name, ceiling or [], ttl)
    return reply(
        {
            "app_id": app.app_id,
            # Name and status are empty here, and only here and on delete.
            "name": "",
            "client_id": app.client_id,
            "client_secret": secret,
            "scopes": app.scopes,
            "token_ttl": app.token_ttl,
            "status": "",
        },
        201,
    )


def register(broker: Broker, name: str, ceiling: list[str], ttl: int | None) -> tuple[App, str]:
    """A new app and its secret. Problem where the broker would refuse; `ttl` None is the broker's default."""
    if not name:
        raise Problem(400, "name is required")
    if _NAME.fullmatch(name) is None:
        raise Problem(400, "invalid app name: must be lowercase letters, digits, and hyphens")
    if not ceiling:
        raise Problem(400, "scopes must not be empty")
    _check(ceiling, ttl)
    if any(app.name == name for app in broker.apps.values()):
        # A conflict by the docs, a 500 on the wire.
        raise Problem(500, "failed to register app")
    secret = secrets.token_hex(32)
    stamp = broker.stamp()
    app = App(
        app_id=f"app-{name}-{secrets.token_hex(3)}",
        name=name,
        client_id=f"{_short(name)}-{secrets.token_hex(6)}",
        secret_digest=digest(secret),
        scopes=list(ceiling),
        token_ttl=broker.settings.app_token_ttl if ttl is None else ttl,
        created_at=stamp,
        updated_at=stamp,
    )
    broker.apps[app.app_id] = app
    broker.audit.append(broker.clock(), "app_registered", _detail(app))
    return app, secret


def index(call: Call) -> Response:
    """GET /v1/admin/apps: newest first; that inactive ones are listed as well was not measured."""
    call.bearer(ADMIN_LAUNCH)
    apps = [_wire(app) for app in reversed(call.broker.apps.values())]
    return reply({"apps": apps, "total": len(apps)})


def show(call: Call) -> Response:
    """GET /v1/admin/apps/{app_id}."""
    call.bearer(ADMIN_LAUNCH)
    return reply(_wire(_app(call)))


def update(call: Call) -> Response:
    """PUT /v1/admin/apps/{app_id}: another ceiling, another lifetime, or both."""
    call.bearer(ADMIN_LAUNCH)
    fields = call.fields()
    ceiling, ttl = fields.texts("scopes"), fields.integer("token_ttl")
    if not ceiling and ttl is None:
        raise Problem(400, "at least one of scopes or token_ttl must be provided")
    app = _app(call)
    _check(ceiling or [], ttl)
    app.scopes = ceiling or app.scopes
    app.token_ttl = app.token_ttl if ttl is None else ttl
    app.updated_at = call.broker.stamp()
    call.broker.audit.append(call.now, "app_updated", _detail(app))
    return reply(_wire(app))


def deregister(call: Call) -> Response:
    """DELETE /v1/admin/apps/{app_id}: no new app tokens. Revokes nothing, whatever the docs say."""
    call.bearer(ADMIN_LAUNCH)
    app = _app(call)
    if app.status == "active":
        app.status = "inactive"
        app.updated_at = app.deregistered_at = call.broker.stamp()
        # The one type of event that was not seen at the broker.
        call.broker.audit.append(call.now, "app_deregistered", f"app={app.name} client_id={app.client_id}")
    return reply(
        {
            "app_id": app.app_id,
            "name": "",
            "client_id": "",
            "scopes": None,
            "token_ttl": 0,
            "status": app.status,
            "deregistered_at": app.deregistered_at,
        }
    )


def _check(ceiling: list[str], ttl: int | None) -> None:
    if not all(map(scopes.well_formed, ceiling)):
        raise Problem(400, "invalid scope format: use action:resource:identifier")
    if ttl is not None and ttl not in _TTL:
        detail = f"invalid token TTL: must be between 60 and 86400 seconds, got {ttl}"
        raise Problem(400, detail, "invalid_ttl")


def _app(call: Call) -> App:
    app = call.broker.apps.get(call.request.path_params["app_id"])
    if app is None:
        raise Problem(404, "app not found")
    return app


def _wire(app: App) -> dict[str, Any]:
    names = ("app_id", "name", "client_id", "scopes", "token_ttl", "status", "created_at", "updated_at")
    return {name: getattr(app, name) for name in names}


def _detail(app: App) -> str:
    ceiling = scopes.bracketed(app.scopes)
    return f"app={app.name} client_id={app.client_id} scopes={ceiling} token_ttl={app.token_ttl}"


def _short(name: str) -> str:
    words = [word for word in name.split("-") if word]
    return "".join(word[0] for word in words) if len(words) > 1 else name[:2]
