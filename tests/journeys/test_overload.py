"""More requests than there is room for: bounds hold, a short queue is fair over teams, refusals tell the truth."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.journeys.gateway_process import PATIENCE_S, GatewayProcess, running, table_of, until
from tests.journeys.turn_provider import TurnProvider
from tests.races.wire import Caller

CHAT = "/v1/chat/completions"


@dataclass(slots=True)
class Crossing:
    """A gateway before two providers: `acme/chat` is served by `first` and then `second`, `acme/alone` by `first`."""

    gateway: GatewayProcess
    listeners: tuple[socket.socket, socket.socket]

    def bounded(self, *, rooms: int = 1000, **routing: object) -> None:
        """The table with these bounds, once it is in force. `rooms` is the first provider's."""
        before = self.gateway.readyz()["generation"]
        self.gateway.table_path.write_text(table(self.listeners, rooms, routing))
        until(lambda: self.gateway.readyz()["generation"] != before, "another generation")

    def metric(self, name: str) -> float:
        text = self.gateway.http.get(f"{self.gateway.url}/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def refusals(self, reason: str) -> float:
        return self.metric(f'gateway_overload_refusals_total{{reason="{reason}"}}')

    def waiting(self, count: int) -> None:
        until(lambda: self.metric("gateway_queued_requests ") == count, f"{count} in the queue")


def table(listeners: tuple[socket.socket, socket.socket], rooms: int, routing: dict[str, object]) -> str:
    first, second = (f"http://127.0.0.1:{listener.getsockname()[1]}/v1" for listener in listeners)
    document = json.loads(
        table_of(
            {"first": first, "second": second},
            routing=routing,
            models={"acme/chat": {"first": {}, "second": {}}, "acme/alone": {"first": {}}},
            timeouts={"firstToken": PATIENCE_S, "betweenTokens": PATIENCE_S, "total": PATIENCE_S},
        )
    )
    document["providers"]["first"]["maxConcurrency"] = rooms
    # So that no table is equal to the one before, whose generation would be the same.
    document["models"]["acme/chat"]["description"] = str(time.monotonic_ns())
    return json.dumps(document)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        listeners = (one, other)
        with running(tmp_path_factory.mktemp("crossing"), table(listeners, 1000, {})) as gateway:
            for team in ("search", "ads"):
                gateway.key(team)
            yield Crossing(gateway, listeners)


@pytest.fixture
def crossing(standing: Crossing) -> Iterator[Crossing]:
    yield standing
    standing.waiting(0)


class Street:
    """Callers of one test, and the providers that they are sent to."""

    def __init__(self, crossing: Crossing, first: TurnProvider, second: TurnProvider, http: httpx.AsyncClient) -> None:
        self.crossing = crossing
        self.first = first
        self.second = second
        self._http = http

    def call(
        self, said: str, *, team: str = "search", model: str = "acme/alone", stream: bool = False
    ) -> asyncio.Task[httpx.Response]:
        """One request under way; cancelling it hangs up."""
        body = {"model": model, "messages": [{"role": "user", "content": said}], "stream": stream}
        return asyncio.create_task(self._http.post(CHAT, json=body, headers=self.crossing.gateway.headers(team)))

    async def calls(self, *said: str, **more: Any) -> list[asyncio.Task[httpx.Response]]:
        """Several, of which each has arrived before the next begins, at the provider or in the queue."""
        made = []
        for one in said:
            before = self._settled()
            made.append(self.call(one, **more))
            await self.until(lambda before=before: self._settled() > before)  # type: ignore[misc]
        return made

    def _settled(self) -> float:
        came = len(self.first.came) + len(self.second.came)
        return came + self.crossing.metric("gateway_queued_requests ")

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def street(crossing: Crossing, *, serve_s: float | None = None) -> AsyncIterator[Street]:
    one, other = crossing.listeners
    limits = httpx.Limits(max_connections=500)
    async with (
        TurnProvider(one, serve_s=serve_s) as first,
        TurnProvider(other, serve_s=serve_s) as second,
        httpx.AsyncClient(base_url=crossing.gateway.url, verify=False, timeout=PATIENCE_S, limits=limits) as http,
    ):
        yield Street(crossing, first, second, http)


def check_refusal(answer: httpx.Response) -> None:
    assert answer.status_code == 429, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "gateway_overloaded")
    assert 1 <= int(answer.headers["retry-after"]) <= 30
    assert "x-gateway-attempts" not in answer.headers


def test_no_more_than_allowed_are_under_way_and_the_rest_waits_its_turn(crossing: Crossing) -> None:
    crossing.bounded(maxInFlight=2, queue=3)
    refused = crossing.refusals("worker_full")

    async def story() -> None:
        async with street(crossing) as on:
            made = await on.calls("a", "b", "c", "d", "e")
            assert on.first.came == ["a", "b"]
            crossing.waiting(3)

            begun_s = time.monotonic()
            check_refusal(await on.call("f"))
            assert time.monotonic() - begun_s < 0.5

            for number in range(1, 6):
                await on.first.until_came(min(number + 1, 5))
                on.first.answer()
            assert [(await one).status_code for one in made] == [200] * 5
            assert on.first.came == ["a", "b", "c", "d", "e"]
            assert on.first.running_most == 2

    asyncio.run(story())
    assert crossing.refusals("worker_full") == refused + 1
    until(lambda: any(line.get("event") == "overloaded" for line in crossing.gateway.log_lines()), "a line of the log")


def test_a_stream_counts_until_its_end(crossing: Crossing) -> None:
    crossing.bounded(maxInFlight=1, queue=1)

    async def story() -> None:
        async with street(crossing) as on:
            stream, plain = await on.calls("stream", stream=True), await on.calls("plain")
            crossing.waiting(1)
            assert on.first.came == ["stream"]
            on.first.answer()
            await on.first.until_came(2)
            on.first.answer()
            assert (await stream[0]).text.endswith("data: [DONE]\n\n")
            assert (await plain[0]).status_code == 200

    asyncio.run(story())


def test_a_full_provider_is_passed_over_and_waited_for_where_there_is_no_other(crossing: Crossing) -> None:
    crossing.bounded(rooms=1, queue=1)
    refused = crossing.refusals("provider_full")

    async def story() -> None:
        async with street(crossing) as on:
            stream = await on.calls("stream", model="acme/chat", stream=True)
            elsewhere = await on.calls("elsewhere", model="acme/chat")
            assert (on.first.came, on.second.came) == (["stream"], ["elsewhere"])

            alone = await on.calls("alone")
            crossing.waiting(1)
            check_refusal(await on.call("too many"))

            on.first.answer()
            await on.first.until_came(2)
            on.first.answer()
            on.second.answer()
            assert on.first.came == ["stream", "alone"]
            assert on.first.running_most == 1
            for one in (*stream, *elsewhere, *alone):
                assert (await one).status_code == 200

    asyncio.run(story())
    assert crossing.refusals("provider_full") == refused + 1


def test_who_leaves_the_queue_leaves_no_trace(crossing: Crossing) -> None:
    crossing.bounded(maxInFlight=1, queue=5)
    crossing.gateway.key("counted", limits={"requests_per_minute": 10})

    async def story() -> None:
        async with street(crossing) as on:
            (served,) = await on.calls("served", team="counted")
            leaving = await on.calls("plain", "another", team="counted")
            leaving += await on.calls("stream", team="counted", stream=True)
            (last,) = await on.calls("last", team="counted")
            for one in leaving:
                one.cancel()
            await asyncio.wait(leaving)
            crossing.waiting(1)
            on.first.answer()
            await on.first.until_came(2)
            on.first.answer()
            assert [(await one).headers["x-ratelimit-remaining-requests"] for one in (served, last)] == ["9", "8"]
            assert on.first.came == ["served", "last"]

    asyncio.run(story())
    until(lambda: len(_usage(crossing, "counted")) == 2, "the two that were served")
    left = [line for line in crossing.gateway.log_lines() if line.get("status") == 499]
    assert len(left) == 3


def _usage(crossing: Crossing, team: str) -> list[dict[str, Any]]:
    return [line for line in crossing.gateway.export() if line["team"] == team]


def test_the_deadline_counts_in_the_queue(crossing: Crossing) -> None:
    crossing.bounded(maxInFlight=1, queue=5)
    refused = crossing.refusals("deadline")

    async def story() -> None:
        async with street(crossing) as on:
            (served,) = await on.calls("served", stream=True)
            await asyncio.to_thread(crossing.bounded, maxInFlight=1, queue=5, deadline=0.5)
            begun_s = time.monotonic()
            check_refusal(await on.call("late"))
            assert 0.45 < time.monotonic() - begun_s < 1
            on.first.answer()
            assert (await served).status_code == 200

    asyncio.run(story())
    assert crossing.refusals("deadline") == refused + 1


def test_a_reload_that_adds_room_lets_those_in_who_wait(crossing: Crossing) -> None:
    crossing.bounded(maxInFlight=1, queue=5)

    async def story() -> None:
        async with street(crossing) as on:
            made = await on.calls("a", "b", "c")
            await asyncio.to_thread(crossing.bounded, maxInFlight=3, queue=0)
            await on.first.until_came(3)
            check_refusal(await on.call("d"))
            on.first.answer(3)
            assert [(await one).status_code for one in made] == [200] * 3

    asyncio.run(story())


@pytest.mark.parametrize("bounds", [{"maxInFlight": 4}, {"rooms": 4}], ids=["worker", "provider"])
def test_a_team_that_floods_fifty_times_leaves_the_other_its_share(crossing: Crossing, bounds: dict[str, Any]) -> None:
    """Counted where they are served, in the order in which they got their turn."""
    crossing.bounded(**bounds, queue=16)
    callers, served = 10, 100

    async def keep_asking(team: str) -> None:
        caller = Caller(crossing.gateway.url)
        body = {"model": "acme/alone", "messages": [{"role": "user", "content": team}]}
        try:
            while True:
                answer = await caller.ask(crossing.gateway.key(team), body)
                if answer.status != 200:
                    assert answer.json()["error"]["code"] == "gateway_overloaded"
                    await asyncio.sleep(2)
        finally:
            caller.close()

    async def story() -> list[str]:
        async with street(crossing, serve_s=0.1) as on:
            asking = [asyncio.create_task(keep_asking("ads")) for _ in range(callers)]
            asking += [asyncio.create_task(keep_asking("search")) for _ in range(50 * callers)]
            await on.first.until(lambda: {"ads", "search"} <= set(on.first.came))
            begun = len(on.first.came)
            await on.first.until_came(begun + served)
            assert not any(one.done() for one in asking)
            for one in asking:
                one.cancel()
            await asyncio.wait(asking)
            assert on.first.running_most == 4
            return on.first.came[begun : begun + served]

    share = asyncio.run(story()).count("ads") / served
    assert 0.45 <= share <= 0.55
