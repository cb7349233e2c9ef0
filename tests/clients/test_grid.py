"""Every client gets from every provider, chosen by suffix: text, a stream, tool calls, JSON, and a word on an image.

What is not answered stands in `grid.toml` with its reason, and is refused before anything is sent.
"""

from __future__ import annotations

import pytest

from tests.clients.callers import Caller
from tests.clients.grid import FEATURES, PLACES, REFUSALS, Place, Refused, assert_answers, assert_refuses, cells, fields
from tests.journeys.simulator_process import SimulatorProcess

ANSWERS_MIN = 51


@pytest.mark.parametrize("client", ["openai", "huggingface_hub", "curl"])
@pytest.mark.parametrize(("place", "feature"), [pytest.param(p, f, id=f"{p.provider}-{f}") for p, f in cells()])
def test_cell(callers: dict[str, Caller], providers: SimulatorProcess, client: str, place: Place, feature: str) -> None:
    caller = callers[client]
    ask = caller.listen if feature == "streamed" else caller.ask
    refusal = REFUSALS.get((place.provider, feature))
    for row in place.rows(feature):
        model = f"{row.hub_model}:{place.provider}"
        if refusal is None:
            assert_answers(ask(model, fields(feature)), place, feature)
            seen = providers.requests()[-1]
            assert (seen["provider"], seen["body"]["model"]) == (place.provider, row.provider_model)
        else:
            with pytest.raises(Refused) as refused:
                ask(model, fields(feature))
            assert_refuses(refused.value, refusal)
            assert providers.requests() == []


def test_nearly_all_is_answered() -> None:
    assert len(PLACES) * len(FEATURES) == 55
    assert len(PLACES) * len(FEATURES) - len(REFUSALS) >= ANSWERS_MIN


def test_an_exception_has_a_place_and_a_reason() -> None:
    for refusal in REFUSALS.values():
        assert refusal.provider in PLACES
        assert refusal.feature in ("tools", "schema"), "text, streams and images have none"
        assert refusal.reason
        assert refusal.source
