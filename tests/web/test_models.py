"""The model list and the Hub's answers over HTTP: who sees what, and model ids with their slash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from gateway.administration import Actor, Administration
from gateway.config.catalog import Catalog
from gateway.store.open import open_store
from gateway.web.auth import Authenticator
from gateway.web.models import ModelServices, model_routes
from tests.unit.test_mappings import table

ACTOR = Actor("cli", "test")
LLAMA = "meta-llama/Llama-3.3-70B-Instruct"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return table("""\
providers:
  groq: {baseUrl: "http://127.0.0.1:1"}
  together: {baseUrl: "http://127.0.0.1:2"}
models:
  meta-llama/Llama-3.3-70B-Instruct:
    providersMapping:
      groq: {providerModelId: llama-3.3-70b-versatile}
      together: {providerModelId: llama-turbo}
  Qwen/Qwen3-32B:
    providersMapping:
      together: {providerModelId: qwen3}
""")


Ask = Callable[..., Awaitable[httpx.Response]]


def asked(
    tmp_path: Path, catalog: Catalog, story: Callable[[Ask, str], Awaitable[None]], *, public: bool = True, **key: Any
) -> None:
    """Runs a story with a way to ask, and a key with these fields."""

    async def run() -> None:
        store = await open_store(state_dir=tmp_path)
        acts = Administration(store)
        await acts.create_team({"team": "search"}, ACTOR)
        issued = await acts.create_key("search", key, ACTOR)
        authenticator = Authenticator(store)
        services = ModelServices(lambda: catalog, authenticator, public=public)
        app = Starlette(routes=model_routes(services))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:

            async def ask(path: str, token: str | None = None) -> httpx.Response:
                headers = {} if token is None else {"authorization": f"Bearer {token}"}
                return await http.get(path, headers=headers)

            await story(ask, issued.text)
        await authenticator.aclose()
        await store.aclose()

    asyncio.run(run())


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return [model["id"] for model in (body["data"] if isinstance(body, dict) else body)]


def test_the_list_is_public_and_a_foreign_token_is_no_fault(tmp_path: Path, catalog: Catalog) -> None:
    async def story(ask: Ask, key: str) -> None:
        everything = [LLAMA, "Qwen/Qwen3-32B"]
        assert ids(await ask("/v1/models")) == everything
        assert ids(await ask("/v1/models", "hf_somebodys_own_token")) == everything
        assert ids(await ask("/api/models", key)) == everything
        wrong = await ask("/v1/models", key[:-6] + "000000")
        assert ids(wrong) == everything, "a bad checksum makes it no key of ours"

    asked(tmp_path, catalog, story)


def test_with_a_key_only_what_it_may_call_is_listed(tmp_path: Path, catalog: Catalog) -> None:
    async def story(ask: Ask, key: str) -> None:
        listed = await ask("/v1/models", key)
        assert ids(listed) == [LLAMA]
        assert [entry["provider"] for entry in listed.json()["data"][0]["providers"]] == ["groq"]
        assert (await ask("/v1/models/Qwen/Qwen3-32B", key)).status_code == 404
        assert (await ask("/v1/models/Qwen/Qwen3-32B")).status_code == 200

    asked(tmp_path, catalog, story, models=["meta-llama/*", "Qwen/*"], providers=["groq"])


def test_a_revoked_key_is_told_even_where_none_is_needed(tmp_path: Path, catalog: Catalog) -> None:
    async def story(ask: Ask, key: str) -> None:
        store = await open_store(state_dir=tmp_path)
        await Administration(store).revoke_key("search", key[6:14], ACTOR)
        await store.aclose()
        assert (await ask("/v1/models", key)).status_code == 401

    asked(tmp_path, catalog, story)


def test_where_the_list_is_not_public_a_key_is_needed(tmp_path: Path, catalog: Catalog) -> None:
    async def story(ask: Ask, key: str) -> None:
        for path in ("/v1/models", f"/v1/models/{LLAMA}", "/api/models", f"/api/models/{LLAMA}"):
            assert (await ask(path)).status_code == 401
            assert (await ask(path, "hf_somebodys_own_token")).status_code == 401
            assert (await ask(path, key)).status_code == 200
        assert (await ask("/api/partners/groq/models")).status_code == 401

    asked(tmp_path, catalog, story, public=False)


def test_a_model_is_found_with_its_slash_raw_or_encoded(tmp_path: Path, catalog: Catalog) -> None:
    async def story(ask: Ask, key: str) -> None:
        for path in (f"/v1/models/{LLAMA}", f"/v1/models/{LLAMA.replace('/', '%2F')}"):
            assert (await ask(path)).json()["id"] == LLAMA
        unknown = await ask("/v1/models/Qwen/Qwen3-32b-")
        assert unknown.status_code == 404
        assert unknown.json()["error"]["code"] == "model_not_found"
        assert "Qwen/Qwen3-32B" in unknown.json()["error"]["message"]

    asked(tmp_path, catalog, story)


def test_the_hub_answers_about_the_mapping_in_both_spellings(tmp_path: Path, catalog: Catalog) -> None:
    async def story(ask: Ask, key: str) -> None:
        for spelling in ("expand", "expand[]"):
            one = (await ask(f"/api/models/{LLAMA}?{spelling}=inferenceProviderMapping")).json()
            assert one["inferenceProviderMapping"]["groq"]["providerId"] == "llama-3.3-70b-versatile"
        listed = await ask("/api/models?inference_provider=groq&inference_provider=cohere")
        assert ids(listed) == [LLAMA]
        partner = (await ask("/api/partners/together/models")).json()
        assert list(partner["conversational"]) == [LLAMA, "Qwen/Qwen3-32B"]
        assert (await ask("/api/partners/nobody/models")).status_code == 404

    asked(tmp_path, catalog, story)


def test_a_page_names_the_next_one(tmp_path: Path, catalog: Catalog) -> None:
    async def story(ask: Ask, key: str) -> None:
        first = await ask("/api/models?limit=1&inference_provider=all")
        assert ids(first) == [LLAMA]
        second = await ask(first.links["next"]["url"])
        assert ids(second) == ["Qwen/Qwen3-32B"]
        assert "next" not in second.links

    asked(tmp_path, catalog, story)
