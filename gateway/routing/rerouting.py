"""The same request under another table: its situation, with what another table offers and all else as it was."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.config.catalog import Offer
from gateway.errors import NotFound
from gateway.routing.health import UNSEEN
from gateway.routing.naming import Resolved, model_named
from gateway.routing.offerings import Offerings
from gateway.routing.situation import Situation
from providers.fields import Feature
from providers.wire import replace


def rerouted(
    situation: Situation, hub_model: str, offerings: Offerings, day: str, *, without: Collection[str] = ()
) -> tuple[Situation, Sequence[Offer]]:
    """The new situation, and the offers of its places. What was seen of an offer goes with the offer; of one that is
    new nothing was seen. `without` names providers that are not served. NotFound where the other table has no such
    model, or not at the provider that was asked for."""
    model = model_named(situation.alias or hub_model, offerings.catalog)
    pinned = situation.pinned
    needs = frozenset(Feature[name] for name in situation.offering.needs if name in Feature.__members__)
    offering, _ = offerings.of(Resolved(model, pinned, situation.policy_asked), needs, day)
    places = [place for place, terms in enumerate(offering.terms) if terms.provider not in without]
    offers = [model.offers[place] for place in places]
    if pinned is not None and not any(offer.provider.name == pinned for offer in offers):
        raise NotFound(f"{pinned} does not serve {model.id}.", param="model")
    then = {
        (terms.provider, terms.provider_model): seen
        for terms, seen in zip(situation.offering.terms, situation.seen, strict=True)
    }
    terms = tuple(offering.terms[place] for place in places)
    seen = [then.get((one.provider, one.provider_model), UNSEEN) for one in terms]
    return replace(situation, offering=replace(offering, terms=terms), seen=seen, packed=None), offers
