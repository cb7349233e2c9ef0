"""docs/billing.md, line by line: what a team pays and what a provider may bill, whatever becomes of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from gateway.records import ClosedEntry
from tests.journeys.caller import ask, listen, listening
from tests.journeys.conftest import Town
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import ROOT, GatewayProcess, running, table_of, until
from tests.journeys.test_leaving import hanging_on, read_until
from tests.named_tests import is_there

PROMPT: Final = 5
ANSWER: Final = 16
PRICES: Final = {"first": (3_000, 6_000), "second": (1_000, 2_000), "third": (1_000, 2_000)}
"""Nano-USD a token of the prompt and of the answer, as the town's table has it."""


@dataclass(frozen=True, slots=True)
class Books:
    """One attempt as it must stand in the books. `tokens` are prompt and answer, None where nothing is booked; of them
    the team pays all or none, or a part."""

    provider: str
    tokens: tuple[int, int] | None
    team_pays: bool
    mark: str = "exact"
    part: str = "all"


KEPT_BACK: Final = {"x-gateway-delivery": "whole"}
WHOLE: Final = (PROMPT, ANSWER)
FAILED: Final = Books("first", None, team_pays=False)
SILENT: Final = Books("first", None, team_pays=False, mark="unknown")
STUCK: Final = Books("first", (PROMPT, 0), team_pays=False, mark="estimated")
SECOND: Final = Books("second", WHOLE, team_pays=True)


def answered(*faults: str, stream: bool = False, headers: dict[str, str] | None = None) -> Callable[[Town], str]:
    """Asks and hears it to the end; `faults` are those of first, second and third."""

    def act(town: Town) -> str:
        for provider, fault in zip(town.providers, faults, strict=False):
            provider.next(fault)
        if stream:
            return listen(town.gateway, headers=headers).inference_id
        return str(ask(town.gateway).headers["inference-id"])

    return act


def left_at(part: bytes, fault: str) -> Callable[[Town], str]:
    def act(town: Town) -> str:
        town.first.next(fault)
        with listening(town.gateway) as (response, chunks):
            read_until(chunks, part)
        return str(response.headers["inference-id"])

    return act


def left_unanswered(fault: str, *, stream: bool, headers: dict[str, str] | None = None) -> Callable[[Town], str]:
    def act(town: Town) -> str:
        town.first.next(fault)
        with hanging_on(town.gateway, headers=headers, stream=stream):
            until(lambda: town.first.has_answered if stream else town.first.requests, "the attempt")
            if headers is not None:
                town.first.wait_for_words(3)
        return town.first.inference_ids()[0]

    return act


LINES: Final[dict[str, tuple[Callable[[Town], str], tuple[Books, ...]]]] = {
    "a whole answer": (answered(), (Books("first", WHOLE, team_pays=True),)),
    "a whole answer, and its usage is zero": (answered("usage-zero"), (Books("first", (0, 0), team_pays=True),)),
    "a whole answer without a usage that can be true": (
        answered("usage-negative"),
        (Books("first", WHOLE, team_pays=True, mark="estimated"),),
    ),
    "an error status": (answered("500"), (FAILED, SECOND)),
    "no status came: a time-out, a reset": (answered("reset"), (SILENT, SECOND)),
    "a 200 that held an error, or nothing, or was cut before content": (
        answered("cut-after-0-chunks", "error-200", stream=True),
        (FAILED, Books("second", None, team_pays=False), Books("third", WHOLE, team_pays=True)),
    ),
    "a 200, and then silence until the time-out": (answered("hang-after-headers", stream=True), (STUCK, SECOND)),
    "a fallback answered": (
        answered("reset", "503", stream=True),
        (SILENT, Books("second", None, team_pays=False), Books("third", WHOLE, team_pays=True)),
    ),
    "an answer, not streamed, that broke off or could not be read": (
        answered("reset-in-body", "invalid-json"),
        (
            Books("first", (PROMPT, 1), team_pays=False, mark="estimated"),
            Books("second", (PROMPT, 1), team_pays=False, mark="estimated"),
            Books("third", WHOLE, team_pays=True),
        ),
    ),
    "a stream that was kept back until it would be whole, and broke": (
        answered("cut-after-3-chunks", stream=True, headers=KEPT_BACK),
        (Books("first", (PROMPT, 3), team_pays=False, mark="estimated"), SECOND),
    ),
    "every provider failed": (
        answered("error-200", "500", "reset"),
        (FAILED, Books("second", None, team_pays=False), Books("third", None, team_pays=False, mark="unknown")),
    ),
    "a stream broke after content": (
        answered("cut-after-3-chunks", stream=True),
        (Books("first", (PROMPT, 3), team_pays=True, mark="estimated"),),
    ),
    "the caller left a stream after content": (
        left_at(b'"content"', "gap-100ms"),
        (Books("first", (PROMPT, 1), team_pays=True, mark="estimated"),),
    ),
    "the caller left a stream that had ended but for its usage": (
        left_at(b'"finish_reason": "stop"', "slow-usage-100ms"),
        (Books("first", WHOLE, team_pays=True),),
    ),
    "the caller left a stream before content": (
        left_unanswered("hang-after-headers", stream=True),
        (Books("first", (PROMPT, 0), team_pays=True, mark="estimated"),),
    ),
    "the caller left a stream that was kept back": (
        left_unanswered("gap-20ms", stream=True, headers=KEPT_BACK),
        (Books("first", (PROMPT, 5), team_pays=True, mark="estimated", part="prompt"),),
    ),
    "the caller left a plain request": (
        left_unanswered("gap-10ms", stream=False),
        (Books("first", WHOLE, team_pays=True),),
    ),
}
_OWN: Final = "tests/journeys/test_billing_lines.py::"
ELSEWHERE: Final = {
    "an answer that cost more than was held for it": (
        "tests/unit/test_metering.py::test_a_strict_budget_holds_the_worst_and_charges_what_it_was"
    ),
    "an answer of an offer without a price": f"{_OWN}test_an_offer_without_a_price",
    "a 200 that broke off, cannot be read, or is labelled as something else": (
        "tests/journeys/test_policy_table.py::test_it_goes_on_to_the_next"
    ),
    "the same again, from the store, for its `Idempotency-Key`": (
        "tests/journeys/test_idempotency.py::test_the_same_answer_twice_is_asked_for_and_charged_once"
    ),
    "nobody listened": f"{_OWN}test_nobody_listened",
    "an error event after comments that kept the connection open": f"{_OWN}test_an_error_event_after_comments",
    "a stream broke after content, and another provider went on": (
        "tests/journeys/test_continued.py::test_another_goes_on_in_the_middle"
    ),
    "our process died after content had gone out": (
        "tests/store/test_shipping.py::test_a_killed_workers_requests_are_closed_by_what_its_journal_saw"
    ),
    "our process died before content": (
        "tests/store/test_shipping.py::test_a_killed_workers_requests_are_closed_by_what_its_journal_saw"
    ),
}
"""Lines that need a gateway of their own, or a closer look, and the tests that hold them."""


def test_every_published_line_is_tested() -> None:
    page = (ROOT / "docs" / "billing.md").read_text()
    rows = re.findall(r"^\| (.+?) \|", page, re.MULTILINE)
    assert set(rows) - {"what happened", "---"} == {*LINES, *ELSEWHERE}
    assert [name for name in ELSEWHERE.values() if not is_there(name)] == []


@pytest.mark.parametrize("line", LINES)
def test_the_line_is_true(town: Town, line: str) -> None:
    act, books = LINES[line]

    entries = town.gateway.story(act(town))

    assert [entry.provider for entry in entries] == [one.provider for one in books]
    for entry, one in zip(entries, books, strict=True):
        assert_booked(entry, one)


def assert_booked(entry: ClosedEntry, books: Books) -> None:
    """Estimated tokens are held to within a few, amounts to the nano-dollar."""
    mark = "unknown" if entry.unknown else "estimated" if entry.estimated else "exact"
    assert mark == books.mark
    prompt, answer = books.tokens or (0, 0)
    slack = 3 if mark == "estimated" else 0
    assert abs(entry.prompt_tokens - prompt) <= slack
    assert abs(entry.completion_tokens - answer) <= (slack if answer else 0)
    of_prompt, of_answer = PRICES[books.provider]
    cost = entry.prompt_tokens * of_prompt + entry.completion_tokens * of_answer
    assert entry.provider_cost_nano_usd == cost
    paid = {"all": cost, "prompt": entry.prompt_tokens * of_prompt, "completion": entry.completion_tokens * of_answer}
    assert entry.charge_nano_usd == (paid[books.part] if books.team_pays else 0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, FaultProvider]]:
    """A model without a price, a provider that is not there, and comments after a tenth of a second."""
    with FaultProvider() as provider:
        table = table_of(
            {"closed": "http://127.0.0.1:9/v1", "open": provider.base_url},
            models={
                "acme/chat": {"closed": {}, "open": {}},
                "acme/gift": {"open": {"pricing": None}},
                "acme/slow": {"open": {}},
            },
            routing={"keepAlive": 0.1, "attempts": 2},
            timeouts={"firstToken": 0.3},
        )
        with running(tmp_path_factory.mktemp("shop"), table) as gateway:
            yield gateway, provider


def test_nobody_listened(shop: tuple[GatewayProcess, FaultProvider]) -> None:
    gateway, _ = shop
    closed, served = gateway.story(ask(gateway).headers["inference-id"])
    assert (closed.provider, closed.kind, closed.charge_nano_usd, closed.provider_cost_nano_usd) == (
        "closed",
        "void",
        0,
        0,
    )
    assert (served.provider, served.charge_nano_usd) == ("open", PROMPT * 1_000 + ANSWER * 2_000)


def test_an_offer_without_a_price(shop: tuple[GatewayProcess, FaultProvider]) -> None:
    gateway, _ = shop
    (entry,) = gateway.story(ask(gateway, model="acme/gift").headers["inference-id"])
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (PROMPT, ANSWER, False)
    assert (entry.charge_nano_usd, entry.provider_cost_nano_usd) == (None, None)


def test_an_error_event_after_comments(shop: tuple[GatewayProcess, FaultProvider]) -> None:
    gateway, provider = shop
    provider.next("hang-after-headers", "hang-after-headers")
    heard = listen(gateway, model="acme/slow")
    assert heard.error is not None
    assert b": keep-alive" in heard.raw
    entries = gateway.story(heard.inference_id)
    assert {(one.estimated, one.prompt_tokens > 0, one.charge_nano_usd) for one in entries} == {(True, True, 0)}
    assert all(one.provider_cost_nano_usd == one.prompt_tokens * 1_000 for one in entries)
