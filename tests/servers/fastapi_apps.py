"""The API of `apps.py` behind FastAPI, which takes longer to import than everything else."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request, WebSocket

from agentwrit_guard import Guard
from agentwrit_guard.contrib import fastapi as guard_fastapi
from tests.servers.apps import POST_TOO, PUBLIC, READ, SEVEN, ran


def fastapi_app() -> FastAPI:
    app = FastAPI()
    app.add_middleware(guard_fastapi.GuardMiddleware, guard=Guard.from_env(), public=PUBLIC)

    @app.api_route("/me", methods=POST_TOO)
    async def me(agent: guard_fastapi.CurrentAgent) -> Any:
        return ran("/me", agent)

    @app.get("/customers/{customer_id}")
    @guard_fastapi.requires_scope(READ)
    def customer(customer_id: str, agent: guard_fastapi.CurrentAgent) -> Any:
        return ran("/customers", agent)

    @app.get("/fresh")
    @guard_fastapi.requires_scope(SEVEN, max_age=0)
    async def fresh(agent: guard_fastapi.CurrentAgent) -> Any:
        return ran("/fresh", agent)

    @app.get("/health")
    @app.get("/public/{rest:path}")
    async def public(request: Request) -> Any:
        return ran("public", None)

    @app.websocket("/ws")
    async def websocket(websocket: WebSocket, agent: guard_fastapi.CurrentAgent) -> None:
        await websocket.accept()
        await websocket.send_json(ran("/ws", agent))
        await websocket.close()

    return app
