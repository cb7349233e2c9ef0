"""What a model's name asks for: an id or an alias, with or without a suffix, or a provider's own route."""

from __future__ import annotations

from typing import NamedTuple

from gateway.ask import SUFFIX_POLICIES, Ask
from gateway.config.catalog import Catalog, Model
from gateway.errors import InvalidRequest, NotFound
from gateway.suggest import did_you_mean
from providers.wire import replace


class Resolved(NamedTuple):
    """A model's name understood: the model, and what its suffix asks for."""

    model: Model
    pinned: str | None = None
    policy: str | None = None


def resolve(ask: Ask, catalog: Catalog) -> Resolved:
    """The model behind a name, an alias or either with a suffix. NotFound says what would be right."""
    model = model_named(ask.model, catalog)
    suffix = ask.suffix
    if suffix is None:
        return Resolved(model)
    if suffix in SUFFIX_POLICIES:
        return Resolved(model, policy=suffix)
    if any(offer.provider.name == suffix for offer in model.offers):
        return Resolved(model, pinned=suffix)
    if suffix in catalog.left_out:
        raise NotFound(f"{suffix} is not available: {catalog.left_out[suffix]}.", param="model")
    good = good_suffixes(model)
    what = "does not serve" if suffix in catalog.providers else "is no known provider or policy for"
    raise NotFound(
        f"{suffix!r} {what} {model.id}; the suffixes are {', '.join(good)}.{did_you_mean(suffix, good)}",
        param="model",
    )


def good_suffixes(model: Model) -> list[str]:
    return [*SUFFIX_POLICIES, *dict.fromkeys(offer.provider.name for offer in model.offers)]


def model_named(name: str, catalog: Catalog) -> Model:
    """The model of an id or an alias. NotFound suggests near names."""
    model = catalog.models.get(catalog.aliases.get(name, name))
    if model is None:
        first, colon, _ = name.partition(":")
        if colon and catalog.aliases.get(first, first) in catalog.models:
            good = model_named(first, catalog)
            raise NotFound(
                f"A model takes one suffix: {first} and one of {', '.join(good_suffixes(good))}.", param="model"
            )
        known = [*catalog.models, *catalog.aliases]
        raise NotFound(
            f"The model {name!r} does not exist here.{did_you_mean(name, known)} GET /v1/models lists all.",
            param="model",
        )
    return model


def pin(ask: Ask, provider: str, catalog: Catalog) -> Ask:
    """The ask of a provider's own route: that provider only, whose own model id is understood as well as the Hub's.

    NotFound where there is no such provider, or it is left out; InvalidRequest where a suffix names another one.
    """
    if provider not in catalog.providers:
        reason = catalog.left_out.get(provider)
        what = f"is not available: {reason}" if reason else "is no provider of this gateway"
        raise NotFound(f"{provider!r} {what}.{did_you_mean(provider, catalog.providers)}", code="provider_not_found")
    if ask.suffix is not None and ask.suffix not in (provider, *SUFFIX_POLICIES):
        raise InvalidRequest(
            f"The route is that of {provider}, and the model's suffix asks for {ask.suffix!r}: leave one of them out.",
            param="model",
        )
    model = ask.model
    if catalog.aliases.get(model, model) not in catalog.models:
        model = next(
            (
                offer.hub_model
                for entry in catalog.models.values()
                for offer in entry.offers
                if offer.provider.name == provider and offer.provider_model == model
            ),
            model,
        )
    return replace(ask, model=model, suffix=provider)
