"""Whatever happens to the service, none of BentoML's own calls answers: they fetch URLs that clients send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FRONT = """
import asyncio, json
from handful.service.app import Front

class CannotStart(Front):
    async def _start(self, stack):
        raise OSError("no room")

async def bentoml(scope, receive, send):
    await send({"type": "BentoML has answered"})

async def sent(front, scope):
    messages = []
    async def send(message):
        messages.append({key: value for key, value in message.items() if key in {"type", "status"}})
    await front(scope, None, send)
    return messages

front = CannotStart(bentoml)
scopes = [{"type": "http"}, {"type": "lifespan", "app": None}, {"type": "http"}]
print(json.dumps([asyncio.run(sent(front, scope)) for scope in scopes]))
"""


def test_a_service_that_has_not_started_answers_503_and_one_that_cannot_start_ends(tmp_path: Path) -> None:
    environment = {**os.environ, "HANDFUL_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "true"}
    done = subprocess.run([sys.executable, "-c", FRONT], env=environment, capture_output=True, text=True, check=True)
    answer = [{"type": "http.response.start", "status": 503}, {"type": "http.response.body"}]
    assert json.loads(done.stdout) == [answer, [{"type": "lifespan.startup.failed"}], answer]
    assert "no room" in done.stderr
