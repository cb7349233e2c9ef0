"""Comments while a provider thinks, so that nobody between us and the caller takes the stream for dead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.journeys.caller import ask, listen
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of


@dataclass(frozen=True, slots=True)
class Patient:
    gateway: GatewayProcess
    provider: FaultProvider


@pytest.fixture(scope="module")
def standing_patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    with FaultProvider() as provider:
        table = table_of({"only": provider.base_url}, routing={"keepAlive": 0.1}, timeouts={"firstToken": 0.7})
        with running(tmp_path_factory.mktemp("patient"), table) as gateway:
            yield Patient(gateway, provider)


@pytest.fixture
def patient(standing_patient: Patient) -> Patient:
    standing_patient.provider.reset()
    return standing_patient


@pytest.mark.parametrize("fault", ["slow-ttft-350ms", "slow-ttft-350ms+sse-comments"])
def test_comments_until_the_first_content_and_none_after(patient: Patient, fault: str) -> None:
    patient.provider.next(fault + "+gap-15ms")

    heard = listen(patient.gateway)

    before, _, after = heard.raw.partition(b"data: ")
    assert before == b": keep-alive\n\n" * before.count(b":")
    assert 2 <= before.count(b":") <= 5
    assert b": keep-alive" not in after
    assert heard.is_done
    assert len(heard.text.split()) == 16
    assert "x-inference-provider" not in heard.response.headers
    assert "x-gateway-attempts" not in heard.response.headers
    (entry,) = patient.gateway.story(heard.inference_id)
    assert (entry.completion_tokens, entry.estimated) == (16, False)


def test_a_quick_provider_needs_none(patient: Patient) -> None:
    heard = listen(patient.gateway)

    assert b": keep-alive" not in heard.raw
    assert heard.response.headers["x-inference-provider"] == "only"


@pytest.mark.parametrize("fault", ["slow-ttft-250ms+400", "slow-ttft-250ms+404", "hang", "hang-after-headers"])
def test_an_error_after_a_comment_is_an_event_and_costs_nothing(patient: Patient, fault: str) -> None:
    patient.provider.next(fault, fault)

    heard = listen(patient.gateway)

    assert heard.status == 200
    assert heard.error is not None
    assert b"[DONE]" not in heard.raw
    assert len(heard.events) == 1
    story = patient.gateway.story(heard.inference_id)
    assert [entry.charge_nano_usd for entry in story] == [0] * len(story)


def test_comments_do_not_stop_the_clock_of_the_first_content(patient: Patient) -> None:
    patient.provider.next("hang")

    heard = listen(patient.gateway)

    assert heard.error is not None
    assert heard.error["code"] == "timeout"
    assert heard.raw.count(b": keep-alive") <= 8


def test_a_plain_request_gets_no_comments(patient: Patient) -> None:
    patient.provider.next("slow-ttft-300ms")

    assert ask(patient.gateway).json()["object"] == "chat.completion"
