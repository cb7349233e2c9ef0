"""The races: everybody at once where there is room for seven, and then one after another until nothing is left."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

from gateway.money import format_usd
from tests.races.house import BODY, COMPLETION_NANO_USD, MAX_TOKENS, PROMPT_NANO_USD, WORST_NANO_USD, House
from tests.races.wire import Caller, Message

CALLERS: Final = 500
FIT: Final = 7
LIMITS: Final = {
    "requests_per_minute": FIT,
    # The prompt's estimate comes on top of what a caller may get; it is far below a hundred tokens.
    "tokens_per_minute": FIT * (MAX_TOKENS + 100),
    "concurrency": FIT,
}
PATIENCE_S: Final = 60.0
LEDGER_S: Final = 5.0
GHOST_S: Final = 0.05


@dataclass(slots=True)
class Finish:
    """How a race went. `reached`: requests at the provider when all were decided; `spent_nano_usd`: what those that
    were answered cost, by the usage that they were told. `ghosts`: refusals while the one request before was still
    held, which a store that takes longer than 25 ms to settle it cannot spare anybody. `faults` are sentences."""

    reached: int
    statuses: Counter[int]
    spent_nano_usd: int
    ghosts: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def refused(self) -> int:
        return CALLERS - self.statuses[200]

    def demand(self, true: bool, fault: str) -> None:
        if not true:
            self.faults.append(fault)


async def race_for_a_budget(house: House, on_key: bool) -> Finish:
    """A strict budget of seven worst cases, of a team or of its key: seven get through. What they left over is then
    spent by one request after another; at the first refusal less than one worst case is left."""
    budget = FIT * WORST_NANO_USD
    team_id, key = await house.team(on_key=on_key, budget={"usd": format_usd(budget), "period": "total"})
    finish = await _race(house, key)
    _demand_seven(finish, 402)
    later, finish.ghosts = await _spend_to_the_end(house, key)
    spent = finish.spent_nano_usd + later
    finish.demand(spent <= budget, f"{spent} of {budget} nano-USD were spent")
    finish.demand(budget - spent < WORST_NANO_USD, f"refused with {budget - spent} nano-USD left of {budget}")
    booked = await _booked_nano_usd(house, team_id, spent)
    finish.demand(booked == spent, f"{booked} nano-USD are in the ledger, {spent} were spent")
    return finish


async def race_for_a_limit(house: House, name: str, on_key: bool) -> Finish:
    """One of LIMITS, of a team or of its key: seven get through."""
    _, key = await house.team(on_key=on_key, limits={name: LIMITS[name]})
    finish = await _race(house, key)
    _demand_seven(finish, 429)
    return finish


async def one_by_one(house: House, count: int) -> Counter[int]:
    """The statuses of a caller with one slot, who asks as soon as it is answered, each gateway in turn."""
    _, key = await house.team(limits={"concurrency": 1})
    house.provider.answer()
    callers = cycle(house.callers(len(house.gateways)))
    return Counter([(await next(callers).ask(key, BODY)).status for _ in range(count)])


async def _race(house: House, key: str) -> Finish:
    """The provider answers when each request has been refused, or has come through to it."""
    undecided, decided = CALLERS, asyncio.Event()

    def decide() -> None:
        nonlocal undecided
        undecided -= 1
        if undecided == 0:
            decided.set()

    async def ask(caller: Caller) -> Message:
        answer = await caller.ask(key, BODY)
        if answer.status != 200:
            decide()
        return answer

    provider = house.provider
    provider.hold(decide)
    async with asyncio.timeout(PATIENCE_S):
        asking = asyncio.gather(*(ask(caller) for caller in house.callers(CALLERS)))
        await decided.wait()
        reached = provider.reached
        provider.answer()
        answers = await asking
    return Finish(reached, Counter(answer.status for answer in answers), sum(map(_cost_nano_usd, answers)))


def _demand_seven(finish: Finish, refusal: int) -> None:
    due = {200: FIT, refusal: CALLERS - FIT}
    finish.demand(
        finish.reached == FIT and finish.statuses == due,
        f"{finish.reached} reached the provider; statuses: {dict(finish.statuses)}",
    )


async def _spend_to_the_end(house: House, key: str) -> tuple[int, int]:
    """What was spent until the first refusal with nothing held, and how many there were before it."""
    spent = ghosts = 0
    for caller in cycle(house.callers(len(house.gateways))):
        answer = await caller.ask(key, BODY)
        if answer.status == 200:
            spent += _cost_nano_usd(answer)
        elif answer.status == 402 and b" 0 USD held" not in answer.content:
            ghosts += 1
            await asyncio.sleep(GHOST_S)
        else:
            break
    return spent, ghosts


def _cost_nano_usd(answer: Message) -> int:
    if answer.status != 200:
        return 0
    usage = answer.json()["usage"]
    return int(usage["prompt_tokens"] * PROMPT_NANO_USD + usage["completion_tokens"] * COMPLETION_NANO_USD)


async def _booked_nano_usd(house: House, team_id: str, spent_nano_usd: int) -> int:
    """What the ledger says as soon as it says what was spent; else what it says after a while."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + LEDGER_S
    while (booked := await house.charged_nano_usd(team_id)) != spent_nano_usd and loop.time() < end_s:
        await asyncio.sleep(0.01)
    return booked
