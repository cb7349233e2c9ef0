"""/v1/models, /api/models and /api/partners: what is offered, in the shapes of Hugging Face's router and Hub.

The shapes are `config/hub.py`'s. Public unless the settings say otherwise; with a gateway key only what it may call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import keys
from gateway.administration import wall_clock_ms
from gateway.config import hub
from gateway.config.catalog import Catalog, Offer
from gateway.periods import hour_of
from gateway.web.auth import Authenticator
from gateway.web.credentials import read_credentials
from gateway.web.json_body import answering_errors, raw_headers
from gateway.web.responses import json_response


@dataclass(frozen=True, slots=True)
class ModelServices:
    """What the model routes stand on. `catalog` is asked each time, since the table may be reloaded."""

    catalog: Callable[[], Catalog]
    authenticator: Authenticator
    public: bool = True
    measured: hub.Measure = hub.nothing_measured
    clock_ms: Callable[[], int] = wall_clock_ms

    async def may(self, request: Request) -> hub.May:
        """Which offers the caller may see. Raises InvalidKey where a key is needed or is not good."""
        headers = raw_headers(request)
        credentials = read_credentials(headers)
        # Hugging Face's clients send whatever token is at hand; one that is no key of ours is nobody's, not a fault.
        if self.public and (credentials is None or keys.parse(credentials.token.decode("latin-1")) is None):
            return hub.everything
        principal = await self.authenticator.principal(headers)

        def may(offer: Offer) -> bool:
            return principal.may_use_model(offer.hub_model) and principal.may_use_provider(offer.provider.name)

        return may

    def day(self) -> str:
        """Today in the table's time zone, by which prices change."""
        return hour_of(self.clock_ms(), self.catalog().timezone).day


def model_routes(services: ModelServices) -> list[Route]:
    """Model ids hold a slash, raw or as `%2F`: both arrive decoded."""

    async def router_list(request: Request) -> Response:
        may = await services.may(request)
        return json_response(hub.router_models(services.catalog(), services.day(), may, services.measured))

    async def router_one(request: Request) -> Response:
        may, name = await services.may(request), request.path_params["name"]
        return json_response(hub.router_model(services.catalog(), name, services.day(), may, services.measured))

    async def hub_list(request: Request) -> Response:
        may = await services.may(request)
        page = hub.hub_models(services.catalog(), _query(request), may)
        response = json_response(page.items)
        if page.next_skip is not None:
            # Absolute: the Hub's clients follow it as it is.
            response.headers["link"] = f'<{request.url.include_query_params(skip=page.next_skip)}>; rel="next"'
        return response

    async def hub_one(request: Request) -> Response:
        may, name = await services.may(request), request.path_params["name"]
        return json_response(hub.hub_model(services.catalog(), name, _query(request), may))

    async def partner(request: Request) -> Response:
        may, provider = await services.may(request), request.path_params["provider"]
        return json_response(hub.partner_models(services.catalog(), provider, _query(request), may))

    table = [
        ("/v1/models", router_list),
        ("/v1/models/{name:path}", router_one),
        ("/api/models", hub_list),
        ("/api/models/{name:path}", hub_one),
        ("/api/partners/{provider}/models", partner),
    ]
    return [Route(path, answering_errors(handler), methods=["GET"]) for path, handler in table]


def _query(request: Request) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        values.setdefault(name, []).append(value)
    return values
