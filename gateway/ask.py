"""What a caller asks for, checked and understood; made by a dialect, read by everything below it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import InvalidRequest
from gateway.money import parse_usd
from gateway.suggest import did_you_mean
from providers.fields import Feature
from providers.wire import ChatRequest, Value

POLICIES: Final = ("preferred", "cheapest", "fastest", "balanced")
"""Ways to order candidates. All but `balanced` are also suffixes of a model name."""
SUFFIX_POLICIES: Final = ("fastest", "cheapest", "preferred")
SORTS: Final = ("price", "throughput", "latency")

TAGS_MAX: Final = 10
_TAG_NAME = re.compile(r"[a-z0-9_-]{1,32}\Z")
MODEL_NAME_BYTES_MAX: Final = 200
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*){0,2}(?::[A-Za-z0-9._-]+)?\Z")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The `provider` field of a request: it bends the routing and never leaves us."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    sort: str | None = None
    price_input_max: int | None = None
    """Nano-USD per million tokens."""
    price_output_max: int | None = None
    allow_fallbacks: bool = True


NO_WISHES: Final = Wishes()
"""Of a request without a `provider` field."""


class Ask(Value, frozen=True):
    """One checked request. `model` is what was asked for without its suffix: a Hub id or an alias."""

    request: ChatRequest
    model: str
    suffix: str | None = None
    wishes: Wishes = NO_WISHES
    features: frozenset[Feature] = frozenset()
    prompt_bytes: int = 0
    """UTF-8 bytes of all text in messages, tools and response_format; images are not in it."""
    messages: int = 0
    images: int = 0
    max_tokens: int | None = None
    """The caller's own cap on the completion, of each choice."""
    tags: Mapping[str, str] = {}


def split_model(name: str) -> tuple[str, str | None]:
    """`"org/name:groq"` to `("org/name", "groq")`.

    What cannot be a model's name at all (a URL, as one client sends it) comes back whole, cut to 200 characters,
    and is looked up like any other: a model that nobody has.
    """
    if len(name) > MODEL_NAME_BYTES_MAX or ".." in name or not _MODEL_NAME.match(name):
        return name[:MODEL_NAME_BYTES_MAX], None
    model, _, suffix = name.partition(":")
    return model, suffix or None


def parse_tags(header: bytes) -> dict[str, str]:
    """`project=x,env=prod` to its pairs, from UTF-8. InvalidRequest says which part is wrong."""
    try:
        text = header.decode()
    except UnicodeDecodeError:
        # Some clients can send nothing else.
        text = header.decode("latin-1")
    tags: dict[str, str] = {}
    for part in text.split(","):
        name, found, value = (piece.strip() for piece in part.partition("="))
        if not found or not _TAG_NAME.match(name) or not 1 <= len(value) <= 64 or not value.isprintable():
            raise InvalidRequest(
                f"X-Gateway-Tags: {part.strip()[:80]!r} is not NAME=VALUE with a name of 1 to 32 characters "
                "of a-z, 0-9, _ and -, and a value of 1 to 64 characters.",
                param="X-Gateway-Tags",
            )
        if name in tags:
            raise InvalidRequest(f"X-Gateway-Tags: {name!r} stands twice.", param="X-Gateway-Tags")
        tags[name] = value
    if len(tags) > TAGS_MAX:
        raise InvalidRequest(f"X-Gateway-Tags: at most {TAGS_MAX} tags.", param="X-Gateway-Tags")
    return tags


def parse_wishes(value: Any) -> Wishes:
    """The `provider` field of a body. InvalidRequest names the part that is wrong."""

    def wrong(name: str, expected: str) -> InvalidRequest:
        return InvalidRequest(f"provider.{name}: expected {expected}.", param=f"provider.{name}")

    if not isinstance(value, dict):
        raise InvalidRequest('provider: expected an object such as {"only": ["groq"]}.', param="provider")
    known = ("order", "only", "ignore", "sort", "max_price", "allow_fallbacks")
    lists: dict[str, tuple[str, ...]] = {"order": (), "only": (), "ignore": ()}
    sort, fallbacks = None, True
    ceilings: dict[str, int | None] = {"input": None, "output": None}
    for name, part in value.items():
        if part is None:
            continue
        if name in lists:
            if not isinstance(part, list) or not all(isinstance(item, str) for item in part):
                raise wrong(name, "a list of provider names")
            lists[name] = tuple(part)
        elif name == "sort":
            if part not in SORTS:
                raise wrong(name, "one of " + ", ".join(SORTS))
            sort = part
        elif name == "max_price":
            if not isinstance(part, dict) or not set(part) <= {"input", "output"}:
                raise wrong(name, 'an object such as {"input": 1, "output": 2}, in USD per million tokens')
            for kind, amount in part.items():
                try:
                    # str() of a JSON number is its shortest decimal form: what the caller wrote.
                    ceilings[kind] = parse_usd(str(amount))
                except ValueError:
                    raise wrong(f"max_price.{kind}", "USD per million tokens, such as 1.5") from None
        elif name == "allow_fallbacks":
            if not isinstance(part, bool):
                raise wrong(name, "true or false")
            fallbacks = part
        else:
            raise InvalidRequest(
                f"provider.{name}: unknown; known are {', '.join(known)}.{did_you_mean(name, known)}",
                param=f"provider.{name}",
            )
    return Wishes(
        order=lists["order"],
        only=lists["only"],
        ignore=lists["ignore"],
        sort=sort,
        price_input_max=ceilings["input"],
        price_output_max=ceilings["output"],
        allow_fallbacks=fallbacks,
    )
