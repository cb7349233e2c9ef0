"""The mapping table: what it becomes, and how it says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.catalog import Breaker, Catalog, Ceilings, MaxPrice, Price, Supports, Timeouts
from gateway.config.mapping_faults import MappingFaults
from gateway.config.mappings import load, read
from providers.base import Adapter
from providers.fields import Feature
from providers.wire import Target


class StandIn:
    """As much of an adapter as the catalog asks for."""

    refuses: ClassVar[Mapping[Feature, str]] = {}

    def __init__(self, name: str, base_url: str) -> None:
        self.name = name
        self.base_url = base_url

    def target(self, *, provider_model: str, hub_model: str, base_url: str, api_key: str | None) -> Target:
        return Target(provider_model, hub_model, f"{base_url}/chat/completions", [])


def stand_ins() -> Mapping[str, Adapter]:
    names = (
        "cerebras",
        "cohere",
        "fireworks-ai",
        "groq",
        "hf-inference",
        "hyperbolic",
        "nebius",
        "novita",
        "nscale",
        "openai",
        "sambanova",
        "together",
    )
    adapters: dict[str, Any] = {name: StandIn(name, f"https://{name}.example/v1") for name in names}
    return adapters


KEYS = {"GROQ_API_KEY": "gsk-1", "CEREBRAS_API_KEY": "csk-1"}

TABLE = """\
version: 1
providers:
  groq:
    apiKey: ${GROQ_API_KEY}
  cerebras: {apiKey: "${CEREBRAS_API_KEY}"}
  my-vllm:
    adapter: openai
    baseUrl: http://10.0.0.5:8000/v1/
    timeouts: {connect: 5, firstToken: 7.5, betweenTokens: 30, total: 600}
    maxConcurrency: 64
models:
  meta-llama/Llama-3.3-70B-Instruct:
    description: Very powerful.
    recommended: true
    providersMapping:
      groq:
        providerModelId: llama-3.3-70b-versatile
        task: conversational
        contextLength: 131072
        maxOutputTokens: 32768
        pricing: {input: "0.59", output: 0.79, cachedInput: "0.30", cacheWrite: "0.59"}
        supports: {tools: true, vision: false}
        weight: 3
        promptOverheadTokens: 100
        imageTokensMax: 1000
      my-vllm:
        providerModelId: llama
        status: staging
        pricing:
          - {from: 2026-01-01, input: "1", output: "2"}
          - {from: 2026-11-01, input: "0.5", output: "1"}
aliases:
  default: meta-llama/Llama-3.3-70B-Instruct
routing:
  policy: balanced
  order: [groq, cerebras]
  attempts: 4
  deadline: 100
  breaker: {failures: 3, open: 20}
  keepAlive: 0
  ceilings: {only: [groq], ignore: [], max_price: {input: 5, output: "15.5"}}
timezone: UTC
"""


def table(text: str, environ: Mapping[str, str] = KEYS) -> Catalog:
    return read(text.encode(), "mappings.yaml", environ, stand_ins())


def faults_of(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(MappingFaults) as caught:
        read(data, "mappings.yaml", KEYS, stand_ins())
    return [str(fault) for fault in caught.value.faults]


def one_fault(text: str | bytes) -> str:
    (fault,) = faults_of(text)
    return fault


def with_line(old: str, new: str) -> str:
    assert old in TABLE
    return TABLE.replace(old, new)


def test_a_table_becomes_a_catalog() -> None:
    catalog = table(TABLE)
    model = catalog.models["meta-llama/Llama-3.3-70B-Instruct"]
    assert (model.description, model.recommended) == ("Very powerful.", True)
    groq, vllm = model.offers
    assert (groq.provider.name, groq.provider_model, groq.weight) == ("groq", "llama-3.3-70b-versatile", 3)
    assert groq.prices == (Price(590_000_000, 790_000_000, 300_000_000, 590_000_000),)
    assert groq.supports == Supports(tools=True, vision=False)
    assert (groq.context_length, groq.output_tokens_max) == (131072, 32768)
    assert (groq.prompt_overhead_tokens, groq.image_tokens_max) == (100, 1000)
    assert groq.provider.api_key == "gsk-1"
    assert vllm.status == "staging"
    assert vllm.target.url == "http://10.0.0.5:8000/v1/chat/completions"
    assert vllm.provider.api_key is None
    assert vllm.provider.timeouts == Timeouts(5, 7.5, 30, 600)
    assert vllm.provider.max_concurrency == 64
    assert catalog.aliases == {"default": "meta-llama/Llama-3.3-70B-Instruct"}
    assert catalog.left_out == {}


def test_routing_is_read_and_what_is_left_out_has_its_default() -> None:
    routing = table(TABLE).routing
    assert (routing.policy, routing.order, routing.attempts) == ("balanced", ("groq", "cerebras"), 4)
    assert (routing.deadline_s, routing.keep_alive_s, routing.queue) == (100.0, 0.0, 100)
    assert routing.breaker == Breaker(failures=3, percent=50, window_s=30, open_s=20)
    assert routing.ceilings == Ceilings(("groq",), (), MaxPrice(5_000_000_000, 15_500_000_000))


def test_dated_prices_hold_from_their_day() -> None:
    offer = table(TABLE).models["meta-llama/Llama-3.3-70B-Instruct"].offers[1]
    assert offer.price_on("2025-12-31") is None
    held = [offer.price_on(day) for day in ("2026-01-01", "2026-10-31", "2026-11-01")]
    assert [price and price.input for price in held] == [1_000_000_000, 1_000_000_000, 500_000_000]


def test_equal_files_have_equal_generations() -> None:
    assert table(TABLE).generation == table(TABLE).generation
    assert table(TABLE).generation != table(TABLE + "# changed\n").generation


def test_a_provider_without_its_key_is_left_out_with_the_reason() -> None:
    catalog = table(TABLE, {})
    assert catalog.left_out == {"groq": "GROQ_API_KEY is not set", "cerebras": "CEREBRAS_API_KEY is not set"}
    assert list(catalog.providers) == ["my-vllm"]
    (model,) = catalog.models.values()
    assert [offer.provider.name for offer in model.offers] == ["my-vllm"]


def test_a_key_can_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "groq"
    secret.write_text("gsk-from-file\n")
    catalog = table(TABLE, {"GROQ_API_KEY_FILE": str(secret)})
    assert catalog.providers["groq"].api_key == "gsk-from-file"
    assert "gsk-from-file" not in repr(catalog)
    lost = table(TABLE, {"GROQ_API_KEY_FILE": str(tmp_path / "nowhere")})
    assert "cannot be read" in lost.left_out["groq"]


def test_a_provider_in_its_usual_place_needs_a_key_and_a_server_of_ones_own_does_not() -> None:
    text = "providers:\n  groq: {}\n  cerebras: {baseUrl: 'http://127.0.0.1:9'}\nmodels:\n  m:\n    providersMapping:\n"
    catalog = table(text + "      groq: {providerModelId: a}\n      cerebras: {providerModelId: b}\n")
    assert catalog.left_out == {"groq": "the table gives no apiKey"}
    assert [offer.provider_model for offer in catalog.models["m"].offers] == ["b"]


def test_ten_planted_faults_give_ten_lines() -> None:
    text = """\
version: 2
providers:
  groq: {apikey: x, baseUrl: "http://me:secret@host/v1"}
  grok: {apiKey: "${GROQ_API_KEY}"}
models:
  meta-llama/Llama-3.3-70B-Instruct:
    providersMapping:
      groq:
        providerModelId: llama
        pricing: {input: "0.59", output: free}
        contextLength: -1
      together: {providerModelId: x}
      groq: {providerModelId: again}
aliases:
  default: meta-llama/Llama-3.3-70B
routing:
  attempts: many
"""
    assert [(fault.split(":")[1], fault.split(": ", 1)[1]) for fault in faults_of(text)] == [
        ("1", "version is '2', expected one of 1"),
        ("3", "unknown key 'apikey' in providers.groq, expected one of adapter, apiKey, baseUrl, timeouts, "
              "maxConcurrency. Did you mean 'apiKey'?"),
        ("3", "providers.groq.baseUrl cannot be used as a base URL, expected http://, https:// or http+unix:// and a "
              "host, without user, query or fragment"),
        ("4", "no adapter is called 'grok', expected that name or `adapter:` with one of "
              f"{', '.join(sorted(stand_ins()))}. Did you mean 'groq'?"),
        ("10", "meta-llama/Llama-3.3-70B-Instruct.groq.pricing.output is 'free', expected an amount in USD such as "
               '"0.59" (at most nine decimals)'),
        ("11", "meta-llama/Llama-3.3-70B-Instruct.groq.contextLength is '-1', expected an integer from 1 to "
               "2147483648"),
        ("12", "provider 'together' is not declared, expected it under providers:, such as "
               "`together: {apiKey: ${TOGETHER_API_KEY}}`"),
        ("13", "'groq' is here twice, expected once (first in line 8)"),
        ("15", "aliases.default is 'meta-llama/Llama-3.3-70B', expected the id of a model of the table. Did you mean "
               "'meta-llama/Llama-3.3-70B-Instruct'?"),
        ("17", "routing.attempts is 'many', expected an integer from 1 to 20"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    apiKey: ${GROQ_API_KEY}", "    apiKey: ${GROQ API KEY}", "4: providers.groq.apiKey has a broken"),
        ("providerModelId: llama\n", "providerModelId: ${MODEL}\n", "names a variable"),
        ("providerModelId: llama\n", "task: conversational\n", "has no providerModelId"),
        ("task: conversational", "task: text-to-image", "expected one of conversational, text-generation"),
        ("status: staging", "status: stagging", "Did you mean 'staging'?"),
        ("tools: true", "tools: yes", "supports.tools is 'yes', expected true or false"),
        ("tools: true", "tool: true", "Did you mean 'tools'?"),
        ("input: \"0.59\"", "input: 1e-3", "'1e-3', expected an amount"),
        ("input: \"0.59\"", "input: -1", "'-1', expected an amount"),
        ("{from: 2026-11-01, ", "{from: 2026-01-01, ", "expected a later day than 2026-01-01"),
        ("{from: 2026-11-01, ", "{from: 2026-13-01, ", "expected a day such as"),
        ("{from: 2026-11-01, ", "{", "has no from, expected input, output, from"),
        ("total: 600", "total: 0", "expected a number of seconds above 0"),
        ("  default: meta", "  meta-llama/Llama-3.3-70B-Instruct: meta", "is the id of a model"),
        ("policy: balanced", "policy: balance", "Did you mean 'balanced'?"),
        ("order: [groq, cerebras]", "order: [groq, qroq]", "routing.order: no provider is called 'qroq'"),
        ("order: [groq, cerebras]", "order: groq", "expected a list of providers"),
        ("only: [groq]", "only: [together]", "provider 'together' is not declared"),
        ("timezone: UTC", "timezone: Europe/Zurick", "Did you mean 'Europe/Zurich'?"),
        ("timezone: UTC", "timezone: ../../etc/passwd", "expected a time zone"),
        ("  my-vllm:\n    adapter", "  fastest:\n    adapter", "a name that the gateway needs itself"),
        ("adapter: openai", "adapter: opnai", "Did you mean 'openai'?"),
        ("http://10.0.0.5", "ftp://10.0.0.5", "cannot be used as a base URL"),
        ("meta-llama/Llama-3.3-70B-Instruct:\n    desc", "meta-llama//Llama:\n    desc", "is not a Hub model id"),
        ("version: 1", "version: 1\nversion: 1", "'version' is here twice"),
        ("version: 1", "version: !!int 1", "the tag"),
        ("version: 1", "version: &one 1", "the anchor &one"),
    ],
)  # fmt: skip
def test_a_fault_says_what_was_expected(old: str, new: str, said: str) -> None:
    faults = faults_of(with_line(old, new))
    assert any(said in fault for fault in faults), faults
    assert len(faults) <= 3


def test_a_secret_in_the_table_is_never_repeated() -> None:
    text = with_line("apiKey: ${GROQ_API_KEY}", "apiKey: gsk hunter2").replace("http://10.0.0.5", "http://u:hunter2@h")
    assert "hunter2" not in " ".join(faults_of(text))


def test_yaml_that_cannot_be_read_says_where() -> None:
    assert one_fault("version: 1\nmodels: [\n").startswith("mappings.yaml:3: not valid YAML: ")
    assert one_fault(b"version: 1\n# \xff\n") == "mappings.yaml:2: byte 0xff is not UTF-8, expected UTF-8 text"
    assert one_fault("version: 1\nmodels: \x00\n").startswith("mappings.yaml:2: the character U+0000")
    assert "second document" in one_fault("version: 1\n---\nversion: 1\n")
    assert "is empty" in one_fault("# nothing\n")
    assert "is empty" in one_fault("")
    assert "expected a mapping" in one_fault("- a\n- b\n")


def test_bombs_are_refused_cheaply() -> None:
    aliases = "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    assert any("alias *a is not taken" in fault for fault in faults_of(aliases))
    assert "levels deep" in one_fault("models: " + "[" * 500)
    assert "MiB" in one_fault(b"#" * (8 * 1024 * 1024 + 1))


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(MappingFaults, match="gateway init"):
        load(tmp_path / "mappings.yaml", {}, stand_ins())
    with pytest.raises(MappingFaults, match="cannot be read"):
        load(tmp_path, {}, stand_ins())


WORDS = st.sampled_from(
    ["version", "providers", "models", "groq", "apiKey", "aliases", "routing", "pricing", "${X}", "1", "~", "true",
     "providersMapping", "providerModelId", "from", "- ", ": ", "\n", "\n  ", "\n    ", "\n      ", "{", "}", "[", "]",
     ", ", "'", '"', "&a", "*a", "<<", "!!x", "|", ">", "#", "\t", "---", "...", "?", "%", "\u2028", "é", "a/b"]
)  # fmt: skip


def read_or_faults(data: bytes) -> list[str]:
    """The faults of a text, none where it is a table; any other exception fails the test."""
    try:
        read(data, "f", {"X": "key"}, stand_ins())
    except MappingFaults as caught:
        return [str(fault) for fault in caught.faults] or ["a fault without a sentence"]
    return []


@given(st.one_of(st.lists(WORDS, max_size=40).map("".join), st.text(max_size=80)))
def test_any_text_is_a_table_or_a_list_of_faults(text: str) -> None:
    faults = read_or_faults(text.encode("utf-8", "surrogatepass"))
    assert all(fault.startswith("f:") for fault in faults)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_list_of_faults(data: bytes) -> None:
    assert all(fault.startswith("f:") for fault in read_or_faults(data))


@given(st.sampled_from(TABLE.split("\n")), WORDS, st.integers(0, 40))
def test_a_damaged_table_is_a_table_or_a_list_of_faults(line: str, word: str, at: int) -> None:
    damaged = TABLE.replace(line, line[:at] + word + line[at:], 1)
    assert all(fault.startswith("f:") for fault in read_or_faults(damaged.encode()))
