"""The tables of README.md that are made from the code, and deploy/env.example. `python -m tests.readme` writes them
anew; `tests/test_docs.py` and `tests/test_deploy.py` fail where page and code differ.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from gateway.cli.config import env_example, shipped_table
from gateway.cli.main import parser
from gateway.config.settings import table
from gateway.errors import GatewayError
from providers.fields import Feature, Support
from providers.registry import ADAPTERS
from tests.architecture import ROOT, read_modules

README: Final = ROOT / "README.md"

SHORT: Final = {
    Feature.TOOLS: "tools",
    Feature.FORCED_TOOL_CHOICE: "forced tool",
    Feature.PARALLEL_TOOL_CALLS: "parallel calls",
    Feature.JSON_OBJECT: "JSON object",
    Feature.JSON_SCHEMA: "JSON schema",
    Feature.REGEX: "regex",
    Feature.TOOLS_WITH_FORMAT: "tools + format",
    Feature.IMAGES: "images",
    Feature.IMAGE_URLS: "image URLs",
    Feature.LOGPROBS: "logprobs",
    Feature.MANY_CHOICES: "n > 1",
    Feature.TOOL_PROMPT: "tool_prompt",
}

WHEN: Final = {
    "400": "bad JSON, a field of the wrong type or out of range (`param` names it), or nobody offers what is needed",
    "400 invalid_json": "the body is no JSON object, nested too deep, or holds too many values",
    "400 idempotency_mismatch": "the `Idempotency-Key` was sent with another request before",
    "400 bad_host": "not exactly one `Host` header",
    "400 bad_http": "not HTTP/1.1",
    "401 invalid_api_key": "no key, or one that is unknown, revoked or expired",
    "402 budget_exceeded": "the team's or the key's budget would be overrun; says when it resets",
    "403 model_not_allowed": "the key or its team may not use the model or provider",
    "403 billing_not_allowed": "the key may not bill the team of `X-HF-Bill-To`",
    "403 scope_not_allowed": "the key is not for this kind of route",
    "404 model_not_found": "no such model, or none with a live provider; near names are suggested",
    "404 provider_not_found": "no such provider on a provider's own route",
    "404 not_found": "no such path or model of the Hub routes",
    "404 request_not_found": "no such request among the team's",
    "404 team_not_found": "admin: no such team",
    "404 key_not_found": "admin: no such key",
    "405 method_not_allowed": "another method is meant; `Allow` names it",
    "408 request_timeout": "the request took too long to arrive",
    "409 conflict": "two changes of one thing at once; ask again",
    "409 idempotency_in_progress": "the first request with this `Idempotency-Key` is being served; `Retry-After`",
    "409 idempotency_answer_not_kept": "the `Idempotency-Key` was answered and charged; the answer is gone",
    "409 team_exists": "admin: the name is taken",
    "409 key_not_live": "admin: the key is revoked or expired",
    "413 request_too_large": "the body is over the limit",
    "415 unsupported_media_type": "the body is compressed",
    "429 rate_limit_exceeded": "requests, tokens or concurrency over the limit; `Retry-After`",
    "429 gateway_overloaded": "our own queue is full; `Retry-After`",
    "431 headers_too_large": "the headers are over the limit",
    "500 internal_error": "a fault of ours; the message holds the request's id",
    "502 all_providers_failed": "every candidate failed; `error.attempts` lists each with its status and reason",
    "502 shutting_down": "the drain was over before the answer was; `Retry-After`",
    "502 no_provider_available": "every candidate is resting after failures; `Retry-After`",
    "502 ledger_unavailable": "the store is away and the team may not go on without it; `Retry-After`",
    "504 timeout": "the last candidate timed out",
}
"""When each error is given, by status and code."""

LIMITS: Final[Sequence[tuple[str, str, Callable[[float], str]]]] = (
    ("gateway.web.request.BODY_BYTES_MAX", "body of an inference request", lambda n: f"{n / (1 << 20):g} MiB"),
    ("gateway.web.json_body.BODY_BYTES_MAX", "body of an admin request", lambda n: f"{n / (1 << 20):g} MiB"),
    ("gateway.cli.http_protocol.HEAD_BYTES_MAX", "all headers of a request", lambda n: f"{n / 1024:g} KiB"),
    ("gateway.cli.http_protocol.HEADERS_MAX", "headers of a request", lambda n: f"{n:g}"),
    ("gateway.cli.http_protocol.URL_BYTES_MAX", "target of a request", lambda n: f"{n / 1024:g} KiB"),
    ("gateway.cli.http_protocol.HEAD_S_MAX", "time for the headers to arrive", lambda n: f"{n:g} s"),
    ("gateway.cli.http_protocol.BODY_S_MAX", "time for the body to arrive", lambda n: f"{n:g} s"),
    ("gateway.dialects.chat.DEPTH_MAX", "nesting of a body", lambda n: f"{n:g}"),
    ("gateway.dialects.chat.NODES_MAX", "values in a body", lambda n: f"{n:,}".replace(",", " ")),
    ("gateway.ask.TAGS_MAX", "tags of a request", lambda n: f"{n:g}"),
    ("gateway.store.fold.TAG_VALUES_MAX", "values of a tag, per team and day", lambda n: f"{n:,}".replace(",", " ")),
    ("gateway.exchange.REPLY_BYTES_MAX", "answer of a provider, not streamed", lambda n: f"{n / (1 << 20):g} MiB"),
    ("gateway.idempotency.ANSWER_BYTES_MAX", "an answer that is kept for its `Idempotency-Key`",
     lambda n: f"{n / (1 << 20):g} MiB"),
    ("gateway.store.base.ANSWER_KEPT_S", "how long it is kept", lambda n: f"{n / 3600:g} h"),
    ("gateway.upstream.response.DECODED_BYTES_MAX", "the same, decompressed", lambda n: f"{n / (1 << 20):g} MiB"),
    ("providers.sse.EVENT_BYTES_MAX", "one event of a stream", lambda n: f"{n / (1 << 20):g} MiB"),
    ("gateway.upstream.connection.HEAD_BYTES_MAX", "headers of a provider's answer", lambda n: f"{n / 1024:g} KiB"),
    ("providers.rate_limits.RETRY_AFTER_MAX_S", "a provider's `Retry-After` that is believed", lambda n: f"{n:g} s"),
    ("gateway.admission.LEASE_SLACK_S", "life of a hold beyond its request's deadline", lambda n: f"{n:g} s"),
    ("gateway.store.shipper.QUEUED_ENTRIES_MAX", "entries in memory on their way to the store; the rest waits on disk",
     lambda n: f"{n:,}".replace(",", " ")),
    ("gateway.config.yaml_tree.TABLE_BYTES_MAX", "size of `mappings.yaml`", lambda n: f"{n / (1 << 20):g} MiB"),
    ("gateway.log.FIELD_CHARS_MAX", "a field of a log line", lambda n: f"{n:,} characters".replace(",", " ")),
)  # fmt: skip
"""Named constants: where, what it bounds, how to show it."""


def blocks() -> dict[str, str]:
    """The generated tables by the name in their markers."""
    return {
        "providers": _table(("provider", *SHORT.values(), "left out, and said so"), _providers()),
        "settings": _table(("variable", "meaning", "default"), ((f"`{a}`", _cell(b), _cell(c)) for a, b, c in table())),
        "commands": _table(("command", "what it does"), commands(parser())),
        "errors": _table(("status", "type", "code", "when"), _errors()),
        "limits": _table(("what", "limit", "constant"), _limits()),
    }


def with_blocks(text: str) -> str:
    """The page with every generated table as the code has it. Raises ValueError where a marker is missing."""
    for name, content in blocks().items():
        begin, end = f"<!-- {name}: written by make docs -->\n", f"<!-- end of {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"expected {begin.strip()!r} and {end!r} once each")
        text = pattern.sub(lambda _: f"{begin}{content}\n{end}", text)  # noqa: B023 (called at once)
    return text


def commands(root: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """(`gateway keys create`, help) of every command that does something."""
    for action in root._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, inner in action.choices.items():
                if inner.get_default("run") is not None:
                    yield f"`{inner.prog}`", _cell(helps[name])
                yield from commands(inner)


def _providers() -> Iterator[Sequence[str]]:
    for name, adapter in ADAPTERS.items():
        dropped = [f"`{field}`" for field, support in adapter.support.items() if support is Support.DROPPED]
        marks = ["–" if feature in adapter.refuses else "✓" for feature in SHORT]
        yield f"`{name}`", *marks, ", ".join(dropped)


def _errors() -> Iterator[Sequence[str]]:
    codes = _codes()
    given = set()
    for kind in _kinds(GatewayError):
        given |= {(kind.status, kind.type, code) for code in (kind.default_code, *codes.get(kind.__name__, ()))}
    for status, error_type, code in sorted(given, key=lambda row: (row[0], row[2] or "")):
        yield str(status), error_type, code or "", WHEN[f"{status} {code}" if code else str(status)]


def _kinds(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    for inner in kind.__subclasses__():
        if inner.__module__.startswith("gateway."):
            yield inner
            yield from _kinds(inner)


def _codes() -> dict[str, set[str]]:
    """Codes other than its own that an error is raised with, by the name of its class: `NotFound(…, code="…")`."""
    found: dict[str, set[str]] = {}
    for module in read_modules().values():
        if module.name.startswith("gateway.simulator"):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                for keyword in node.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                        found.setdefault(node.func.id, set()).add(str(keyword.value.value))
    return found


def _limits() -> Iterator[Sequence[str]]:
    for place, what, shown in LIMITS:
        module, _, name = place.rpartition(".")
        yield what, shown(getattr(importlib.import_module(module), name)), f"`{place}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    README.write_text(with_blocks(README.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / "deploy" / "env.example").write_text(env_example(shipped_table()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
