"""A request that failed is freed with its end, too: while a provider dies, bodies of megabytes must not wait for a
collector that looks seldom."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gateway.administration import Actor, Administration
from gateway.app import Application
from gateway.config.settings import from_environ
from gateway.store.open import open_store
from gateway.web.request import Message, Scope
from providers.wire import ChatRequest
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import table_of

WHOLE = (b"x-gateway-delivery", b"whole")
CONTINUE = (b"x-gateway-mid-stream", b"continue")
BODY = json.dumps({"model": "acme/chat", "stream": True, "messages": [{"role": "user", "content": "hello"}]}).encode()


class Caller:
    """Sends one request and hears all of the answer."""

    def __init__(self) -> None:
        self.heard = b""
        self._asked = False

    async def receive(self) -> Message:
        if self._asked:
            await asyncio.Event().wait()
        self._asked = True
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(self, message: Message) -> None:
        self.heard += message.get("body", b"")


@pytest.fixture(scope="module")
def providers() -> Iterator[tuple[FaultProvider, FaultProvider]]:
    with FaultProvider() as first, FaultProvider() as second:
        yield first, second


@asynccontextmanager
async def serving(folder: Path, providers: tuple[FaultProvider, ...]) -> AsyncIterator[tuple[Application, Scope]]:
    first, second = providers
    table = table_of(
        {"first": first.base_url, "second": second.base_url},
        models={"acme/chat": {"first": {}, "second": {"supports": {"prefill": True}}}},
        timeouts={"firstToken": 0.2, "betweenTokens": 0.2},
    )
    (folder / "mappings.yaml").write_text(table)
    store = await open_store(state_dir=folder / "state")
    administration, actor = Administration(store), Actor("cli", "tests")
    await administration.create_team({"team": "search"}, actor)
    key = (await administration.create_key("search", {}, actor)).text
    await store.aclose()
    state, mappings = str(folder / "state"), str(folder / "mappings.yaml")
    app = Application(from_environ({"GATEWAY_STATE_DIR": state, "GATEWAY_MAPPINGS": mappings}))
    await app.start()
    headers = [(b"authorization", f"Bearer {key}".encode())]
    yield app, {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    await app.stop()


@pytest.mark.parametrize(
    ("header", "fault", "last"),
    [
        ((b"x", b""), "cut-after-3-chunks", b"stream_broken"),
        ((b"x", b""), "hang-after-3-chunks", b"timeout"),
        ((b"x", b""), "error-event", b"stream_broken"),
        ((b"x", b""), "cut-after-0-chunks", b"[DONE]"),
        ((b"x", b""), "hang", b"[DONE]"),
        ((b"x", b""), "reset", b"[DONE]"),
        ((b"x", b""), "500", b"[DONE]"),
        ((b"x", b""), "400", b"invalid_request_error"),
        (CONTINUE, "cut-after-3-chunks", b"[DONE]"),
        (WHOLE, "cut-after-3-chunks", b"[DONE]"),
    ],
)
def test_nothing_waits_for_the_collector(
    tmp_path: Path,
    providers: tuple[FaultProvider, FaultProvider],
    header: tuple[bytes, bytes],
    fault: str,
    last: bytes,
) -> None:
    async def story() -> list[Any]:
        async with serving(tmp_path, providers) as (app, scope):
            scope["headers"].append(header)
            await app({**scope}, (first := Caller()).receive, first.send)  # makes what is made once
            gc.collect()
            providers[0].next(fault)
            await app({**scope}, (caller := Caller()).receive, caller.send)
            assert last in caller.heard
            await asyncio.sleep(0.05)  # connections say goodbye
            del caller, first
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            gc.set_debug(0)
            found = [one for one in gc.garbage if isinstance(one, FrameType | ChatRequest)]
            gc.garbage.clear()
            return found

    gc.disable()
    try:
        assert asyncio.run(story()) == []
    finally:
        gc.enable()
