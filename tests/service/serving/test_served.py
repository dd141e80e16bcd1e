"""The models in memory are bounded by what they take; the command line opens a page where there is none yet."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from commands import Command
from handful.service.http.library_errors import ModelUnknown
from handful.service.http.metrics import ServiceMetrics
from handful.service.http.model_errors import ModelTooLarge
from handful.service.serving.served import ServedModels
from handful.service.settings import Settings
from running_server import LOCAL, free_port, publish_copy, until


def test_a_model_that_does_not_fit_beside_the_default_one_is_refused(own_home: Path, artifact: Path) -> None:
    publish_copy(own_home, artifact, "bags")
    publish_copy(own_home, artifact, "cups")

    async def tried() -> None:
        models = ServedModels(Settings(name="bags", max_model_megabytes=0.01), ServiceMetrics())
        await models.default.look()
        assert (await models.version("bags")).model == "bags:1"
        with pytest.raises(ModelTooLarge, match="HANDFUL_MAX_MODEL_MEGABYTES"):
            await models.version("cups")
        with pytest.raises(ModelUnknown):
            await models.check("nobody")
        assert models.loaded() == {"bags"}

    asyncio.run(tried())


def test_a_model_that_is_away_for_moments_while_it_is_loaded_is_tried_again(own_home: Path, artifact: Path) -> None:
    """Not called broken, which would refuse it for half a minute after it came back."""
    publish_copy(own_home, artifact, "bags")
    publish_copy(own_home, artifact, "moths")
    here, away, ended = own_home / "models/moths", own_home / "models/.moths", threading.Event()

    def keep_moving() -> None:
        while not ended.wait(0.005):
            here.rename(away)
            ended.wait(0.0003)
            away.rename(here)

    async def tried() -> str:
        models = ServedModels(Settings(name="bags", max_models=2), ServiceMetrics())
        for _ in range(30):
            with suppress(ModelUnknown):  # any other error fails the test
                await models.version("moths")
            models.forget("moths")
        ended.set()
        mover.join()
        return (await models.version("moths")).model

    mover = threading.Thread(target=keep_moving)
    mover.start()
    try:
        assert asyncio.run(tried()) == "moths:1"
    finally:
        ended.set()


def test_studio_opens_a_browser_on_a_store_without_models(tmp_path: Path) -> None:
    opened, browser, port = tmp_path / "opened", tmp_path / "browser", free_port()
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o755)
    environment = {**os.environ, "HANDFUL_HOME": str(tmp_path / "home"), "BROWSER": f"{browser} %s"}
    studio = Command("studio", "--port", str(port), environment=environment, log=tmp_path / "log")
    try:
        until(opened.exists)
        url = opened.read_text().strip()
        assert url == f"http://127.0.0.1:{port}/"
        assert httpx.get(url, **LOCAL).headers["content-type"].startswith("text/html")
        assert httpx.get(f"{url}models", **LOCAL).json() == {
            "default": None,
            "may_change": True,
            "models": [],
        }
        made = httpx.post(f"{url}models", json={"name": "first"}, **LOCAL)
        assert made.status_code == 201
        assert httpx.post(f"{url}predict", content=b"x", **LOCAL).json()["error"]["code"] == "not_ready"
    finally:
        os.kill(studio.pid, 15)
        studio.exit_code(60)
