"""Hugging Face's client as it stands in people's programs, with `provider=` and no base URL.

It asks its Hub for the mapping, translates for the provider by itself and calls the router. Its one hook swaps the
router's host for the gateway's, as a name server would; the programs stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError
from huggingface_hub.inference._providers import PROVIDERS as CLIENT_KNOWS
from huggingface_hub.inference._providers._common import _fetch_inference_provider_mapping

from tests.clients.callers import strung, whole
from tests.clients.grid import PLACES, QUESTION, REFUSALS, Place, assert_answers, fields
from tests.journeys.gateway_process import GatewayProcess
from tests.journeys.simulator_process import SimulatorProcess

ROUTER: Final = "router.huggingface.co"
KNOWN: Final = [place for place in PLACES.values() if place.provider in CLIENT_KNOWS]
"""Later versions have left some of the eleven out."""
ASKED: Any = [{"role": "user", "content": QUESTION}]


class _ToGateway(httpx2.HTTPTransport):
    """Nothing leaves this host."""

    def __init__(self, gateway_url: str) -> None:
        super().__init__(verify=False)
        self._gateway = httpx2.URL(gateway_url)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.host == ROUTER:
            request.url = request.url.copy_with(scheme="http", host=self._gateway.host, port=self._gateway.port)
        assert request.url.host == self._gateway.host, request.url
        return super().handle_request(request)


@pytest.fixture(autouse=True)
def _router_is_the_gateway(gateway: GatewayProcess) -> Iterator[None]:
    _fetch_inference_provider_mapping.cache_clear()
    huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=_ToGateway(gateway.url), timeout=20))
    yield
    _fetch_inference_provider_mapping.cache_clear()
    huggingface_hub.set_client_factory(huggingface_hub.utils._http.default_client_factory)


@pytest.fixture(params=KNOWN, ids=[place.provider for place in KNOWN])
def place(request: pytest.FixtureRequest) -> Place:
    chosen: Place = request.param
    return chosen


def test_plain_and_streamed(place: Place, key: str, providers: SimulatorProcess) -> None:
    client = InferenceClient(provider=place.provider, api_key=key)  # type: ignore[arg-type]

    assert_answers(whole(client.chat_completion(ASKED, model=place.chat.hub_model)), place, "plain")
    streamed = strung(client.chat_completion(ASKED, model=place.chat.hub_model, stream=True))

    assert QUESTION in streamed.text
    assert {seen["provider"] for seen in providers.requests()} == {place.provider}
    assert {seen["body"]["model"] for seen in providers.requests()} == {place.chat.provider_model}


@pytest.mark.parametrize("feature", ["tools", "schema", "image"])
def test_features_in_the_clients_own_translation(
    place: Place, feature: str, key: str, providers: SimulatorProcess
) -> None:
    """What it makes of a schema for Cohere, Fireworks, Together or TGI is understood, and translated again."""
    client = InferenceClient(provider=place.provider, api_key=key)  # type: ignore[arg-type]
    asked: Any = {"model": place.rows(feature)[0].hub_model, **fields(feature)}
    if (place.provider, feature) in REFUSALS:
        with pytest.raises(BadRequestError, match=f"{place.provider}: "):
            client.chat_completion(**asked)
        return

    assert_answers(whole(client.chat_completion(**asked)), place, feature)
    assert [seen["provider"] for seen in providers.requests()] == [place.provider]


def test_the_client_may_leave_the_choice_to_the_router(key: str, providers: SimulatorProcess) -> None:
    client = InferenceClient(api_key=key)
    answer = client.chat_completion(ASKED, model="meta-llama/Llama-4-Scout-17B-16E-Instruct")
    assert QUESTION in (answer.choices[0].message.content or "")
    assert len(providers.requests()) == 1
