"""One API for agents and for people with a session cookie: `uvicorn examples.agent_or_user:app`.

Set AGENTWRIT_BROKER_URL first. The user, the password and the stores are stand-ins for the app's own; the login
would hash, and limit its rate. The guard takes no part in any of that.
"""

import hmac
import secrets
from typing import Annotated

from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response

from agentwrit_guard import Guard, Principal
from agentwrit_guard.contrib.fastapi import CurrentAgent, GuardMiddleware, OptionalAgent, requires_scope

PASSWORDS = {"ann": "correct horse"}
OWNERS = {"1": "ann", "2": "ben"}
sessions: dict[str, str] = {}

app = FastAPI()
app.add_middleware(GuardMiddleware, guard=Guard.from_env(), others="pass")


def agent_or_user(request: Request, agent: OptionalAgent) -> Principal | str:
    """The agent if the request carries a token of one, else the name of the user who is logged in."""
    if agent is not None:
        return agent
    user = sessions.get(request.cookies.get("session", ""))
    if user is None:
        raise HTTPException(401, "Log in", {"WWW-Authenticate": 'Bearer realm="agentwrit"'})
    return user


AgentOrUser = Annotated[Principal | str, Depends(agent_or_user)]


@app.get("/orders/{order_id}")
async def read_order(order_id: str, caller: AgentOrUser) -> dict[str, str]:
    if isinstance(caller, Principal):
        caller.require(f"read:orders:{order_id}")
    elif OWNERS.get(order_id) != caller:
        raise HTTPException(403, "Not your order")
    return {"order": order_id, "read_by": caller if isinstance(caller, str) else caller.agent_id}


@app.post("/orders/{order_id}/refund")
@requires_scope("refund:orders:{order_id}")
async def refund_order(order_id: str, agent: CurrentAgent) -> dict[str, str]:
    return {"order": order_id, "refunded_by": agent.agent_id}


@app.post("/login")
async def log_in(user: Annotated[str, Body()], password: Annotated[str, Body()], response: Response) -> dict[str, str]:
    if not hmac.compare_digest(PASSWORDS.get(user, secrets.token_hex()).encode(), password.encode()):
        raise HTTPException(403, "Wrong user or password")
    session = secrets.token_urlsafe()
    sessions[session] = user
    response.set_cookie("session", session, httponly=True, secure=True, samesite="strict")
    return {"user": user}
