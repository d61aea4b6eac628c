"""FastAPI behind the guard: `uvicorn examples.fastapi_app:app`, with AGENTWRIT_BROKER_URL set."""

from fastapi import FastAPI

from agentwrit_guard import Guard
from agentwrit_guard.contrib.fastapi import CurrentAgent, GuardMiddleware, requires_scope

app = FastAPI()
app.add_middleware(GuardMiddleware, guard=Guard.from_env(), public=["/health"])


@app.get("/customers/{customer_id}")
@requires_scope("read:customers:{customer_id}")
async def read_customer(customer_id: str, agent: CurrentAgent) -> dict[str, str]:
    return {"customer": customer_id, "agent": agent.agent_id}
