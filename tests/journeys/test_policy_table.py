"""The table of failures, row by row: what the caller sees, who was asked how often and when, what it cost whom by the
ledger, and the story that is told of it. Broken streams, after their first content, are another table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from gateway.money import format_usd
from gateway.records import ClosedEntry
from gateway.routing.policy import POLICY
from providers.wire import FailureKind
from tests.journeys.caller import ask, events_of
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of

SILENCE_S: Final = 0.5
"""How long a provider may be silent, before its first content or in all."""
SOON_S: Final = 0.9
"""Within this a step follows the one before, on a busy machine."""
TIMER_S: Final = 0.002
UNDERWAY_S: Final = 0.1
"""A silence is counted from the sending of a request; we see it arrive."""
PROMPT_TOKENS: Final = 5
ANSWER_TOKENS: Final = 16
EXACT_NANO_USD: Final = PROMPT_TOKENS * 3_000 + ANSWER_TOKENS * 6_000
"""What the first provider takes for a whole answer; the others take a third."""
OWN_KEY: Final = {"401": "auth", "402": "payment", "429-quota": "payment", "403": "forbidden"}
ACCOUNTS: Final = ("busy", "throttled", *(f"account-{fault}" for fault in OWN_KEY))
"""More accounts at the first provider, for what an account is left alone after."""


@dataclass(frozen=True, slots=True)
class Street:
    """A gateway and its providers in the order of the table. Nobody listens where `gone` was."""

    gateway: GatewayProcess
    providers: tuple[FaultProvider, FaultProvider, FaultProvider]

    @property
    def first(self) -> FaultProvider:
        return self.providers[0]

    @property
    def asked(self) -> tuple[int, ...]:
        return tuple(provider.requests for provider in self.providers)

    def asked_at_s(self) -> list[float]:
        """When each attempt since the test began reached its provider, the earliest first."""
        return sorted(
            record["t"] for provider in self.providers for record in provider.truth.records if record["ev"] == "begin"
        )


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(FaultProvider()) for _ in range(3))
        with FaultProvider() as gone:
            nowhere = gone.base_url
        urls = {"first": first.base_url, "second": second.base_url, "third": third.base_url, "gone": nowhere}
        dear = {"contextLength": 8192, "pricing": {"input": "3", "output": "6"}}
        table = table_of(
            {**urls, **dict.fromkeys(ACCOUNTS, first.base_url)},
            models={
                "acme/chat": {"first": dear, "second": {"contextLength": 8192}, "third": {"contextLength": 32768}},
                "acme/alone": {"first": dear},
                "acme/gone": {"gone": {}, "second": {}},
                **{f"acme/{account}": {account: {}, "second": {}} for account in ACCOUNTS},
            },
            timeouts={"firstToken": SILENCE_S, "total": SILENCE_S},
        )
        gateway = stack.enter_context(running(tmp_path_factory.mktemp("street"), table))
        yield Street(gateway, (first, second, third))


@pytest.fixture
def street(standing: Street) -> Street:
    for provider in standing.providers:
        provider.reset()
    return standing


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of failure of the provider that is asked first."""

    fault: str
    shown: str
    """In `x-gateway-attempts`."""
    failure: str
    """In the ledger and the story."""
    billed: str = "nothing"
    """What the failed provider will bill, as far as we can know: `nothing`, `unknown`, `estimated`, `exact`."""
    after_s: float = 0.0
    """When the next one is asked."""

    def __str__(self) -> str:
        return self.fault


BOTH: Final = (
    Row("404", "404", "not_found"),
    Row("405", "405", "unreadable"),
    Row("408", "408", "timeout"),
    Row("409", "409", "conflict"),
    Row("410", "410", "not_found"),
    Row("413", "413", "too_large"),
    Row("415", "415", "unreadable"),
    Row("429", "429", "rate_limited"),
    Row("429-retry-after-bogus", "429", "rate_limited"),
    Row("400-code-tool_use_failed", "400", "model_output"),
    Row("500", "500", "server_error"),
    Row("html-502", "502", "server_error"),
    Row("html-403", "403", "unreadable"),
    Row("503", "503", "overloaded"),
    Row("504", "504", "timeout"),
    Row("529", "529", "overloaded"),
    Row("201", "201", "unreadable"),
    Row("redirect", "307", "unreadable"),
    Row("redirect-metadata", "302", "unreadable"),
    Row("error-200", "server_error", "server_error"),
    Row("200-code-odd", "error_event", "error_event"),
    Row("refuse", "reset", "reset", "unknown"),
    Row("reset", "reset", "reset", "unknown"),
    Row("hang", "timeout", "timeout", "unknown", SILENCE_S),
    Row("hang-after-headers", "timeout", "timeout", "estimated", SILENCE_S),
)
PLAIN: Final = (
    Row("empty-body", "unreadable", "unreadable"),
    Row("html-200", "unreadable", "unreadable", "estimated"),
    Row("invalid-json", "unreadable", "unreadable", "estimated"),
    Row("truncated-json", "unreadable", "unreadable", "estimated"),
    Row("short-content-length", "unreadable", "unreadable", "estimated"),
    Row("stream-for-json", "unreadable", "unreadable", "estimated"),
    Row("wrong-type", "unreadable", "unreadable", "exact"),
    Row("gzip-lie", "unreadable", "unreadable", "estimated"),
    Row("gzip-broken", "unreadable", "unreadable", "estimated"),
    Row("two-lengths", "unreadable", "unreadable", "unknown"),
    Row("wrong-content-length", "truncated", "truncated", "exact"),
    Row("reset-in-body", "truncated", "truncated", "estimated"),
)
STREAMED: Final = (
    Row("empty-body", "truncated", "truncated"),
    Row("empty-stream", "truncated", "truncated"),
    Row("only-done", "truncated", "truncated"),
    Row("html-200", "unreadable", "unreadable"),
    Row("json-for-stream", "unreadable", "unreadable", "exact"),
    Row("wrong-type+gap-5ms", "unreadable", "unreadable", "estimated"),
    Row("cut-after-0-chunks", "truncated", "truncated"),
    Row("rst-after-0-chunks", "truncated", "truncated"),
    Row("bad-chunk", "unreadable", "unreadable"),
    Row("error-in-stream-after-0", "server_error", "server_error"),
    Row("hang-after-0-chunks", "timeout", "timeout", "estimated", SILENCE_S),
    Row("slow-ttft-5s", "timeout", "timeout", "unknown", SILENCE_S),
)
GO_ON: Final = [(row, False) for row in (*BOTH, *PLAIN)] + [(row, True) for row in (*BOTH, *STREAMED)]


@pytest.mark.parametrize(("row", "stream"), GO_ON, ids=str)
def test_it_goes_on_to_the_next(street: Street, row: Row, stream: bool) -> None:
    street.first.next(row.fault)

    answer = ask(street.gateway, stream=stream)

    assert answer.status_code == 200
    assert answer.headers["x-gateway-attempts"] == f"first:{row.shown},second:200"
    assert answer.headers["x-inference-provider"] == "second"
    assert words_of(answer, stream) == ANSWER_TOKENS
    assert street.asked == (1, 1, 0)
    begun_s, next_s = street.asked_at_s()
    assert row.after_s - UNDERWAY_S <= next_s - begun_s < row.after_s + SOON_S
    failed, served = agreeing_story(street, answer, failed=False)
    assert (failed.provider, failed.failure, failed.answered) == ("first", row.failure, False)
    assert failed.charge_nano_usd == 0
    assert billed(failed) == row.billed
    assert (served.provider, served.status, served.answered, served.estimated) == ("second", 200, True, False)
    assert served.charge_nano_usd == served.provider_cost_nano_usd == EXACT_NANO_USD // 3


@pytest.mark.parametrize(("fault", "failure"), OWN_KEY.items())
def test_a_key_of_ours_that_is_refused_is_not_the_callers_fault(street: Street, fault: str, failure: str) -> None:
    """It is told to the operator, and nobody is sent there again until the table is reloaded."""
    account, status, gateway = f"account-{fault}", fault[:3], street.gateway
    street.first.next(fault)

    answer, *others = (ask(gateway, model=f"acme/{account}") for _ in range(3))

    assert answer.status_code == 200
    assert answer.headers["x-gateway-attempts"] == f"{account}:{status},second:200"
    assert [other.headers["x-gateway-attempts"] for other in others] == ["second:200"] * 2
    assert street.asked == (1, 3, 0)
    failed, served = agreeing_story(street, answer, failed=False)
    assert (failed.failure, billed(failed), served.provider) == (failure, "nothing", "second")
    (alert,) = [line for line in gateway.log_lines() if line.get("provider") == account and line["level"] == "error"]
    assert (alert["event"], alert["status"]) == ("provider_key_refused", int(status))
    assert gateway.metric(f'gateway_provider_key_refusals_total{{provider="{account}"}}') == 1
    assert gateway.readyz()["refused_keys"] == [f"{account}/chat" if status == "403" else account]
    gateway.reload()
    assert ask(gateway, model=f"acme/{account}").headers["x-gateway-attempts"] == f"{account}:200"


def test_nobody_who_listens(street: Street) -> None:
    answer = ask(street.gateway, model="acme/gone")

    assert answer.headers["x-gateway-attempts"] == "gone:connect,second:200"
    failed, _ = agreeing_story(street, answer, failed=False)
    assert (failed.failure, failed.status, billed(failed)) == ("connect", None, "nothing")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "code", "failure", "shown"),
    [
        ("400", None, "bad_request", "400"),
        ("422", None, "bad_request", "422"),
        ("400-filter", "content_filter", "content_filter", "400"),
        ("403-filter", "content_filter", "content_filter", "403"),
        ("400-code-content_policy_violation", "content_filter", "content_filter", "400"),
        ("200-code-content_filter", "content_filter", "content_filter", "content_filter"),
    ],
)
def test_what_is_about_the_request_is_the_callers(
    street: Street, fault: str, code: str | None, failure: str, shown: str, stream: bool
) -> None:
    street.first.next(fault)

    answer = ask(street.gateway, stream=stream)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("first: ")
    assert code in (None, error["code"])
    assert answer.headers["x-gateway-attempts"] == f"first:{shown}"
    assert street.asked == (1, 0, 0)
    (entry,) = agreeing_story(street, answer, failed=True)
    assert (entry.failure, entry.status, billed(entry)) == (failure, int(fault[:3]), "nothing")


@pytest.mark.parametrize("fault", ["400-context", "413-context", "422-context", "200-code-context_length_exceeded"])
def test_a_prompt_too_long_goes_only_to_a_larger_window(street: Street, fault: str) -> None:
    street.first.next(fault)

    answer = ask(street.gateway)

    assert answer.headers["x-inference-provider"] == "third"
    assert street.asked == (1, 0, 1)
    failed, _ = agreeing_story(street, answer, failed=False)
    assert (failed.failure, billed(failed)) == ("context_overflow", "nothing")


def test_a_prompt_too_long_for_all_is_the_callers(street: Street) -> None:
    street.first.next("400-context")
    street.providers[2].next("400-context")

    answer = ask(street.gateway)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert street.asked == (1, 0, 1)
    assert len(agreeing_story(street, answer, failed=True)) == 2


ASKED_AGAIN: Final = ("500", "502", "error-200", "reset", "refuse", "400-code-tool_use_failed")
ASKED_ONCE: Final = {
    "429": 502, "503": 502, "404": 502, "409": 502, "405": 502, "redirect": 502, "empty-body": 502,
    "invalid-json": 502, "wrong-content-length": 502, "wrong-type": 502, "200-code-odd": 502,
    # Who was silent is never asked twice.
    "hang": 504, "hang-after-headers": 504, "408": 504, "504": 504,
}  # fmt: skip
"""With the status that its caller sees."""


@pytest.mark.parametrize("fault", ASKED_AGAIN)
def test_the_last_one_is_asked_once_more_where_that_makes_sense(street: Street, fault: str) -> None:
    street.first.next(fault)

    answer = ask(street.gateway, model="acme/alone")

    assert answer.status_code == 200
    assert street.asked == (2, 0, 0)
    failed, served = agreeing_story(street, answer, failed=False)
    assert (failed.number, served.number) == (1, 2)
    assert served.charge_nano_usd == EXACT_NANO_USD


@pytest.mark.parametrize("fault", ASKED_AGAIN)
def test_and_only_once(street: Street, fault: str) -> None:
    street.first.next(fault, fault, fault)

    answer = ask(street.gateway, model="acme/alone")

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "all_providers_failed")
    assert street.asked == (2, 0, 0)
    assert len(agreeing_story(street, answer, failed=True)) == 2


@pytest.mark.parametrize(("fault", "status"), ASKED_ONCE.items())
def test_elsewhere_it_is_not(street: Street, fault: str, status: int) -> None:
    street.first.next(fault)

    answer = ask(street.gateway, model="acme/alone")

    assert answer.status_code == status
    (tried,) = answer.json()["error"]["attempts"]
    assert tried["provider"] == "first"
    assert tried["reason"]
    assert street.asked == (1, 0, 0)
    (entry,) = agreeing_story(street, answer, failed=True)
    assert entry.charge_nano_usd == 0


@pytest.mark.parametrize(
    ("fault", "wait_s"),
    [
        ("429-retry-after-1", 1.0),
        ("429-retry-after-ms-300", 0.3),
        ("503-retry-after-1", 1.0),
        ("429-retry-after-0", 0.0),
    ],
)
def test_a_short_retry_after_is_waited_out_exactly(street: Street, fault: str, wait_s: float) -> None:
    street.first.next(fault)

    answer = ask(street.gateway)

    assert answer.headers["x-gateway-attempts"] == f"first:{fault[:3]},first:200"
    assert street.asked == (2, 0, 0)
    told_s, again_s = street.asked_at_s()
    assert wait_s - TIMER_S <= again_s - told_s < wait_s + SOON_S
    failed, served = agreeing_story(street, answer, failed=False)
    assert billed(failed) == "nothing"
    assert served.charge_nano_usd == EXACT_NANO_USD


def test_a_retry_after_may_be_a_date(street: Street) -> None:
    street.first.next("429-retry-after-date")  # two seconds from now, cut to the second

    answer = ask(street.gateway)

    assert answer.headers["x-gateway-attempts"] == "first:429,first:200"
    told_s, again_s = street.asked_at_s()
    due_s = int(told_s + 2)
    assert due_s - TIMER_S <= again_s < due_s + SOON_S


def test_a_long_retry_after_is_left_to_the_others(street: Street) -> None:
    street.first.next("429-retry-after-4")

    answers = [ask(street.gateway, model="acme/throttled") for _ in range(3)]

    assert [answer.headers["x-gateway-attempts"] for answer in answers] == ["throttled:429,second:200"] + [
        "second:200"
    ] * 2
    assert street.asked == (1, 3, 0)
    # The silence is that account's alone.
    assert ask(street.gateway).headers["x-gateway-attempts"] == "first:200"


def test_the_soonest_of_all_who_named_a_time_is_told(street: Street) -> None:
    street.first.next("429-retry-after-20")
    street.providers[1].next("503-retry-after-4")

    answer = ask(street.gateway, model="acme/busy")

    assert answer.status_code == 502
    assert answer.headers["retry-after"] == "4"
    assert answer.headers["x-should-retry"] == "false"
    tried = [(attempt["provider"], attempt["status"]) for attempt in answer.json()["error"]["attempts"]]
    assert tried == [("busy", 429), ("second", 503)]


def test_every_kind_of_failure_has_a_row() -> None:
    elsewhere = {FailureKind.CONNECT, FailureKind.BAD_REQUEST, FailureKind.CONTENT_FILTER, FailureKind.CONTEXT_OVERFLOW}
    elsewhere.add(FailureKind.DEADLINE)  # tests/journeys/test_deadlines.py
    own_key = {FailureKind(failure) for failure in OWN_KEY.values()}
    rows = {FailureKind(row.failure) for row, _ in GO_ON}
    assert rows | elsewhere | own_key == set(POLICY) == set(FailureKind)


def test_retries_are_paid_for(tmp_path: Path) -> None:
    """The first move is free; a second one only as often as the retry budget has it, ten times a minute at least."""
    with ExitStack() as stack:
        providers = [stack.enter_context(FaultProvider()) for _ in range(3)]
        names = ("first", "second", "third")
        table = table_of(
            {name: provider.base_url for name, provider in zip(names, providers, strict=True)},
            routing={"retryBudgetPercent": 20},
        )
        gateway = stack.enter_context(running(tmp_path, table))
        for provider in providers[:2]:
            provider.next(*["500"] * 100)

        answers = [ask(gateway, max_tokens=1) for _ in range(30)]

        assert [provider.requests for provider in providers] == [30, 30, 10]
        assert [answer.status_code for answer in answers] == [200] * 10 + [502] * 20
        assert answers[-1].headers["x-gateway-attempts"] == "first:500,second:500"


def words_of(answer: httpx.Response, stream: bool) -> int:
    if not stream:
        return len(answer.json()["choices"][0]["message"]["content"].split())
    assert answer.content.endswith(b"data: [DONE]\n\n")
    deltas = [choice["delta"] for event in events_of(answer.content) for choice in event.get("choices") or []]
    return len("".join(delta.get("content") or "" for delta in deltas).split())


def agreeing_story(street: Street, answer: httpx.Response, *, failed: bool) -> Sequence[ClosedEntry]:
    """The ledger's entries of a request, once what the caller is told of it says the same."""
    inference_id = answer.headers["inference-id"]
    entries = street.gateway.story(inference_id)
    told = street.gateway.told(inference_id)
    assert (told["finished"], told["failed"]) == (True, failed)
    assert told["cost_usd"] == format_usd(sum(entry.charge_nano_usd or 0 for entry in entries))
    assert [(a["provider"], a["status"], a["failure"], a["answered"]) for a in told["attempts"]] == [
        (entry.provider, entry.status, entry.failure, entry.answered) for entry in entries
    ]
    shown = [part.partition(":")[0] for part in answer.headers["x-gateway-attempts"].split(",")]
    assert [entry.provider for entry in entries] == shown
    assert [entry.failed for entry in entries] == [False] * (len(entries) - 1) + [failed]
    return entries


def billed(entry: ClosedEntry) -> str:
    """What a failed attempt's provider will bill, by the ledger."""
    cost = entry.provider_cost_nano_usd
    if entry.unknown:
        assert (entry.kind, cost) == ("use", 0)
        return "unknown"
    if entry.kind == "void":
        assert cost == 0
        return "nothing"
    assert cost
    if entry.estimated:
        return "estimated"
    assert cost == EXACT_NANO_USD
    return "exact"
