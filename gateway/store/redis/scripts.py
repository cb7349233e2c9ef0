"""Runs scripts by their hash, those that come together in one pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

from redis import exceptions

from gateway.store.base import StoreAway
from gateway.store.redis.connect import Client, Link

PIPELINE_CALLS_MAX: Final = 32
_SEAL_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the hash that Redis knows it by, so that two versions run side by side."""

    text: str
    sha: str


def load_script(name: str, *others: str) -> Script:
    """`others` are put in front of it."""
    folder = files("gateway.store.redis")
    text = "".join((folder / f"{part}.lua").read_text() for part in (*others, name))
    return Script(text, _sum(text.encode()))


def seal(keys: Sequence[str], packed: bytes) -> str:
    """What seal.lua demands beside the argument."""
    return _sum("\n".join(keys).encode() + b"\n" + packed)


def unsealed(reply: bytes) -> bytes:
    """The packed answer of a script with seal.lua. Raises StoreAway where it is not what was sent."""
    packed, claimed = reply[:-_SEAL_CHARS], reply[-_SEAL_CHARS:]
    if _sum(packed).encode() != claimed:
        raise StoreAway("an answer of Redis was changed on its way")
    return packed


def _sum(data: bytes) -> str:
    return sha1(data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class _Call:
    script: Script
    keys: Sequence[str]
    arguments: Sequence[str | bytes]
    answer: asyncio.Future[Any]


class ScriptRunner:
    """Calls made while one pipeline is on the wire travel together in the next."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: list[_Call] = []
        self._flight: asyncio.Task[None] | None = None

    def start(self, script: Script, keys: Sequence[str], *arguments: str | bytes) -> asyncio.Future[Any]:
        """The script's reply, to be awaited; StoreAway. A caller who is cancelled does not stop it."""
        loop = asyncio.get_running_loop()
        call = _Call(script, keys, arguments, loop.create_future())
        self._waiting.append(call)
        if self._flight is None:
            self._flight = loop.create_task(self._fly())
        return call.answer

    async def aclose(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)

    async def _fly(self) -> None:
        calls: list[_Call] = []
        try:
            while self._waiting:
                calls, self._waiting = self._waiting[:PIPELINE_CALLS_MAX], self._waiting[PIPELINE_CALLS_MAX:]
                await self._send(calls)
        finally:
            # Only a cancellation leaves calls without an answer.
            for call in (*calls, *self._waiting):
                if not call.answer.done():
                    call.answer.set_exception(StoreAway("the store is closed"))
            self._flight = None

    async def _send(self, calls: list[_Call]) -> None:
        try:
            replies = await self._link.call(lambda client: _send_all(client, calls))
        except StoreAway as error:
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(StoreAway(error.reason))
            return
        for call, reply in zip(calls, replies, strict=True):
            refused = await self._link.refused(reply) if isinstance(reply, exceptions.RedisError) else None
            if call.answer.done():
                continue
            if refused is not None:
                call.answer.set_exception(refused)
            else:
                call.answer.set_result(reply)


async def _send_all(client: Client, calls: Sequence[_Call]) -> list[Any]:
    """The replies, an exception in the place of each call that was refused. Scripts that Redis does not know were not
    run, so those calls, and only those, are sent again after loading."""
    replies = await _pipeline(client, calls)
    unknown = [index for index, reply in enumerate(replies) if isinstance(reply, exceptions.NoScriptError)]
    if unknown:
        for script in {calls[index].script.sha: calls[index].script for index in unknown}.values():
            await client.script_load(script.text)
        for index, reply in zip(unknown, await _pipeline(client, [calls[i] for i in unknown]), strict=True):
            replies[index] = reply
    return replies


async def _pipeline(client: Client, calls: Sequence[_Call]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for call in calls:
        # By name, since a cluster's pipeline refuses the method; one slot for all keys is what makes it right there.
        pipeline.execute_command("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.arguments)
    replies: list[Any] = await pipeline.execute(raise_on_error=False)
    return replies
