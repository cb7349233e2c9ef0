"""`gateway mappings import` and `sync`, the latter against a small Hub on a real socket."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gateway.cli import mappings
from gateway.cli.failure import CliFailure

TABLE = """\
providers:
  groq: {apiKey: "${GROQ_API_KEY}"}
models:
  org/a:
    providersMapping:
      groq: {providerModelId: a-old}  # ours
"""
FIRST_PAGE = "/api/models?inference_provider=groq&filter=conversational&expand[]=inferenceProviderMapping&limit=1000"


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GATEWAY_MAPPINGS", "HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "https_proxy", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "mappings.yaml"
    path.write_text(TABLE)
    return path


class Hub(BaseHTTPRequestHandler):
    """Two documents, and what was asked for."""

    asked: ClassVar[list[str]] = []
    documents: ClassVar[dict[str, Any]] = {}
    links: ClassVar[dict[str, str]] = {}
    """The next page of a path, query and all."""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        document = self.documents.get(self.path.partition("?")[0])
        body = json.dumps(document).encode()
        self.send_response(404 if document is None else 200)
        self.send_header("content-length", str(len(body)))
        if self.path in self.links:
            self.send_header("link", f'<{self.links[self.path]}>; rel="next"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.asked.clear()
    mapping = [{"provider": "groq", "providerId": "a-new", "status": "live", "task": "conversational"}]
    figures = {"provider": "groq", "context_length": 8192, "pricing": {"input": 0.1, "output": 0.2}}
    Hub.documents.clear()
    Hub.links.clear()
    Hub.documents["/api/models"] = [{"id": "org/a", "inferenceProviderMapping": mapping}]
    Hub.documents["/v1/models"] = {"object": "list", "data": [{"id": "org/a", "providers": [figures]}]}
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def gateway(*words: str) -> int:
    parser = argparse.ArgumentParser()
    mappings.add_parser(parser.add_subparsers())
    args = parser.parse_args(["mappings", *words])
    code: int = args.run(args)
    return code


def test_an_import_shows_its_diff_and_writes_only_when_told(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("docs.json").write_text('{"groq": {"modelId": "org/a", "providerModelId": "a-new"}}')
    assert gateway("import", "docs.json") == 0
    assert capsys.readouterr().out == (
        "~ org/a groq: providerModelId: a-old -> a-new\n"
        "mappings.yaml: 0 to add, 1 to change; --write changes mappings.yaml\n"
    )
    assert table.read_text() == TABLE
    assert gateway("import", "docs.json", "--write", "--json") == 0
    assert json.loads(capsys.readouterr().out)["written"] is True
    assert table.read_text() == TABLE.replace("a-old", "a-new")


def test_an_import_of_something_else_is_refused(table: Path) -> None:
    Path("x.json").write_text("[]")
    with pytest.raises(CliFailure, match=r"x\.json: no mapping in it") as caught:
        gateway("import", "x.json")
    assert caught.value.exit_code == 2
    with pytest.raises(CliFailure, match="nowhere cannot be read: No such file"):
        gateway("import", "nowhere")


def test_a_sync_joins_the_hubs_names_with_the_routers_figures(
    hub: str, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub)
    assert gateway("sync", "--write") == 0
    row = '{providerModelId: a-new, contextLength: 8192, pricing: {input: "0.1", output: "0.2"}}  # ours'
    assert row in table.read_text()
    assert "inference_provider=groq&" in Hub.asked[0]


def test_a_sync_without_a_routers_list_goes_on_and_says_so(hub: str, capsys: pytest.CaptureFixture[str]) -> None:
    del Hub.documents["/v1/models"]
    assert gateway("sync", "--from", hub) == 0
    told = capsys.readouterr()
    assert "status 404" in told.err
    assert "a-old -> a-new" in told.out


def test_a_sync_reads_every_page(hub: str, table: Path) -> None:
    Hub.documents["/more"] = [
        {"id": "org/b", "inferenceProviderMapping": Hub.documents["/api/models"][0]["inferenceProviderMapping"]}
    ]
    Hub.links[FIRST_PAGE] = "/more?cursor=2"
    assert gateway("sync", "--from", hub, "--write") == 0
    assert "org/b:" in table.read_text()
    assert [path.partition("?")[0] for path in Hub.asked] == ["/api/models", "/more", "/v1/models"]


def test_pages_that_lead_elsewhere_or_in_a_circle_are_not_followed(hub: str) -> None:
    Hub.links[FIRST_PAGE] = "http://elsewhere.example/api/models"
    with pytest.raises(CliFailure, match=r"another host, elsewhere\.example"):
        gateway("sync", "--from", hub)
    Hub.links[FIRST_PAGE] = FIRST_PAGE
    with pytest.raises(CliFailure, match="does not end: 1 pages"):
        gateway("sync", "--from", hub)


def test_a_url_with_a_path_is_one_document(hub: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert gateway("sync", "--from", f"{hub}/v1/models", "--json") == 0
    (context, price) = json.loads(capsys.readouterr().out)["changes"]
    assert (context["what"], price["kind"]) == ("contextLength: not said -> 8192", "change")


def test_a_source_that_is_away_is_a_sentence_and_exit_code_1(table: Path) -> None:
    with pytest.raises(CliFailure, match="could not be fetched") as caught:
        gateway("sync", "--from", "http://127.0.0.1:1")
    assert caught.value.exit_code == 1
    with pytest.raises(CliFailure, match="is not a URL to ask"):
        gateway("sync", "--from", "file:///etc/passwd")
    assert table.read_text() == TABLE
