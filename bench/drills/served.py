"""The API of the drill `workers`: `gunicorn "bench.drills.served:app()"`, with a guard out of the environment."""

from __future__ import annotations

import logging
import os

from flask import Flask

from agentwrit_guard.contrib.flask import FlaskGuard, current_agent, requires_scope


def app() -> Flask:
    logging.getLogger("agentwrit_guard").setLevel(logging.CRITICAL)
    made = Flask(__name__)
    FlaskGuard(made)

    @made.get("/customers/<int:customer>")
    @requires_scope("read:customers:{customer}")
    def read(customer: int) -> str:
        return f"{os.getpid()} {current_agent.claims.jti}"

    return made
