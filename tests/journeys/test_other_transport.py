"""The same promises over httpx's own transport, which is taken where providers are reached through a proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.journeys.caller import ask, listen, listening
from tests.journeys.fault_provider import FaultProvider
from tests.journeys.gateway_process import GatewayProcess, running, table_of

Pair = tuple[GatewayProcess, FaultProvider]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A gateway, and the first of its two providers."""
    with FaultProvider() as first, FaultProvider() as second:
        table = table_of({"first": first.base_url, "second": second.base_url})
        environ = {"GATEWAY_HTTP_TRANSPORT": "httpx"}
        with running(tmp_path_factory.mktemp("httpx"), table, environ=environ) as gateway:
            yield gateway, first


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["ok", "gzip", "sse-crlf", "no-length", "evil-headers"])
def test_an_answer_is_metered_to_the_token(pair: Pair, fault: str, stream: bool) -> None:
    gateway, first = pair
    first.next(fault)

    answer = ask(gateway, stream=stream)

    assert answer.headers["x-gateway-attempts"] == "first:200"
    assert "set-cookie" not in answer.headers
    (entry,) = gateway.story(answer.headers["inference-id"])
    assert (entry.prompt_tokens, entry.completion_tokens, entry.estimated) == (5, 16, False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["500", "reset", "redirect-metadata", "error-200", "empty-body"])
def test_a_failure_goes_on_to_the_next(pair: Pair, fault: str, stream: bool) -> None:
    gateway, first = pair
    first.next(fault)

    answer = ask(gateway, stream=stream)

    assert answer.status_code == 200
    assert answer.headers["x-inference-provider"] == "second"


@pytest.mark.parametrize("fault", ["cut-after-3-chunks", "rst-after-3-chunks", "hang-after-3-chunks"])
def test_a_broken_stream_is_one_error(pair: Pair, fault: str) -> None:
    gateway, first = pair
    first.next(fault)

    heard = listen(gateway)

    assert heard.error is not None
    assert not heard.is_done


def test_a_caller_who_leaves_takes_the_provider_along(pair: Pair) -> None:
    gateway, first = pair
    first.next("hang-after-3-chunks")

    with listening(gateway) as (response, chunks):
        next(chunks)

    (served,) = first.ended(response.headers["inference-id"])
    assert served["outcome"] == "client_gone"
    assert served["secs"] < 0.5
