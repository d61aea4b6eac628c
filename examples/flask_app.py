"""Flask behind the guard: `flask --app examples.flask_app run`, with AGENTWRIT_BROKER_URL set."""

from flask import Flask

from agentwrit_guard.contrib.flask import FlaskGuard, current_agent, requires_scope

app = Flask(__name__)
FlaskGuard(app, public=["/health"])


@app.get("/customers/<customer_id>")
@requires_scope("read:customers:{customer_id}")
def read_customer(customer_id: str) -> dict[str, str]:
    return {"customer": customer_id, "agent": current_agent.agent_id}
