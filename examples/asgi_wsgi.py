"""Two apps of no framework: `uvicorn examples.asgi_wsgi:app`, `gunicorn examples.asgi_wsgi:application`.

Set AGENTWRIT_BROKER_URL first.
"""

from agentwrit_guard import Guard, asgi, wsgi
from agentwrit_guard.asgiscope import Receive, Scope, Send
from agentwrit_guard.environ import Environ, StartResponse

guard = Guard.from_env()


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        agent = scope["agentwrit"][guard].principal
        agent.require("read:greetings:hello")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": agent.agent_id.encode()})


app = asgi.GuardMiddleware(greet, guard)


def greet_blocking(environ: Environ, start_response: StartResponse) -> list[bytes]:
    agent = environ["agentwrit_guard"][guard].principal
    agent.require("read:greetings:hello")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [agent.agent_id.encode()]


application = wsgi.GuardMiddleware(greet_blocking, guard)
