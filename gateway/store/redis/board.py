"""The workers' board in Redis: a hash of posts with a short life, read and written in one round trip, and a stream that
wakes those who wait on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.store.board import POST_LIFE_MS, WAKE_S, Reading
from gateway.store.redis.connect import Link
from gateway.store.redis.names import BoardNames
from gateway.store.redis.scripts import ScriptRunner, load_script

EXCHANGE: Final = load_script("board")
BEGINNING: Final = "0-0"


class RedisBoard:
    """See `gateway.store.board.Board`. `waiting` is the link for calls that may take longer than an answer takes."""

    def __init__(self, link: Link, waiting: Link, prefix: str, instance: str) -> None:
        self._runner = ScriptRunner(link)
        self._waiting = waiting
        self._names = BoardNames(prefix)
        self._instance = instance
        self._heard = BEGINNING

    async def exchange(self, text: bytes, *, urgent: bool) -> Reading:
        keys = [self._names.posts, self._names.bell]
        arguments = (self._instance, text, str(POST_LIFE_MS), "1" if urgent else "0")
        now_ms, *rest = await self._runner.start(EXCHANGE, keys, *arguments)
        names = (name.decode() for name in rest[::2])
        return Reading(int(now_ms), dict(zip(names, rest[1::2], strict=True)))

    async def wake(self) -> Mapping[str, bytes]:
        bell = self._names.bell

        async def read(client: Any) -> Any:
            return await client.xread({bell: self._heard}, block=int(WAKE_S * 1000))

        posts: dict[str, bytes] = {}
        for entry_id, fields in _entries(await self._waiting.call(read)):
            self._heard = entry_id.decode()
            posts.update((name.decode(), text) for name, text in fields.items())
        posts.pop(self._instance, None)
        return posts

    async def aclose(self) -> None:
        await self._runner.aclose()


def _entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of the one stream that was asked for, whichever protocol the driver speaks."""
    if not answer:
        return []
    streams = list(answer.values()) if isinstance(answer, dict) else [entries for _, entries in answer]
    found: list[Any] = streams[0]
    return found[0] if found and isinstance(found[0], list) else found
