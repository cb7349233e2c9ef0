"""The documentation against the code: generated tables, commands and routes that are named, and the example that is
printed, run as a reader would run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest

from gateway import __version__
from gateway.cli.main import parser
from tests.architecture import ROOT, read_modules
from tests.readme import README, SHORT, commands, with_blocks

PAGE: Final = README.read_text(encoding="utf-8")
STOP_S: Final = 5.0


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, f"nothing like {pattern} in {text!r}"
    return found[0]


@dataclass(frozen=True, slots=True)
class Demo:
    """A running `gateway demo` and what it printed."""

    process: subprocess.Popen[str]
    printed: str
    environ: dict[str, str]

    @property
    def address(self) -> str:
        return _first(r"http://127\.0\.0\.1:\d+", self.printed)

    @property
    def key(self) -> str:
        return _first(r"hf_gw_\w+", self.printed)

    def curl(self, index: int) -> tuple[str, str]:
        """Runs a printed `curl` line; (headers, body) of the answer."""
        lines = re.findall(r"^curl .*\\\n.*$", self.printed, re.MULTILINE)
        done = subprocess.run(
            ["sh", "-c", lines[index]], env=self.environ, capture_output=True, text=True, timeout=30, check=True
        )
        headers, _, body = done.stdout.partition("\n\n")
        return headers, body


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    ours = ("GATEWAY_", "REDIS_", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environ |= {"GATEWAY_PORT": "0", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo"],
        cwd=tmp_path_factory.mktemp("demo"),
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process, process.stdout:
        try:
            printed = ""
            for line in process.stdout:
                printed += line
                if "Ctrl-C" in line:
                    break
            yield Demo(process, printed, environ)
        finally:
            if process.poll() is None:
                process.kill()


def test_the_tables_are_those_of_the_code() -> None:
    assert with_blocks(PAGE) == PAGE, "README.md is behind the code: run `make docs`"


def test_every_feature_has_a_column() -> None:
    assert len(set(SHORT.values())) == len(SHORT)
    assert {feature.name for feature in SHORT} == {feature.name for feature in type(next(iter(SHORT)))}


def test_every_command_in_a_block_exists() -> None:
    known = {name.strip("`") for name, _ in commands(parser())}
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    for words in re.findall(r"gateway((?: [a-z]+){1,2})", blocks):
        first, *rest = words.split()
        assert f"gateway {first}" in known or f"gateway {first} {rest[0]}" in known, words


def test_what_is_not_there_yet_is_really_not_there() -> None:
    known = {name.strip("`").split()[1] for name, _ in commands(parser())}
    missing = set(re.findall(r"`gateway ([a-z]+)`", PAGE.partition("\nNot yet:\n")[2]))
    assert not missing & known


def test_what_nothing_acts_on_is_read_by_nothing() -> None:
    sentences = re.findall(r"In `mappings\.yaml` the keys\s([^.]*)", PAGE)
    for key in re.findall(r"`(\w+)`", " ".join(sentences)):
        used = re.compile(r"routing\." + re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", key) + r"\b")
        users = [m.name for m in read_modules().values() if used.search(m.path.read_text(encoding="utf-8"))]
        assert users == [], f"{key} works by now: tell so in README.md"


def test_the_page_links_to_files_that_exist() -> None:
    for page in (README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_test_command_is_what_ci_runs() -> None:
    command = re.findall(r"```sh\n\./(tests/run)\n```", PAGE)
    assert command == ["tests/run"]
    assert "step tests/run\n" in (ROOT / ".ci" / "run").read_text()
    for script in ("tests/run", "tests/setup", ".ci/run", ".ci/lock"):
        assert os.access(ROOT / script, os.X_OK), script


def test_the_changelog_begins_with_what_is_not_released() -> None:
    headings = re.findall(r"^## \[?([\w.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert __version__ in (*headings, "0.1.0")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_file_names_no_place(name: str) -> None:
    """Hashes say what is meant; where it comes from is the business of whoever installs."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.findall(r"^\s*--(?!hash=)|://| @ |(?<![\w.])/\w+/", text, re.MULTILINE)
    pins = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert all(re.match(r"[\w.-]+==[\w.]+ \\\n    --hash=sha256:[0-9a-f]{64}", pin) for pin in pins)


def test_the_printed_curl_falls_back(demo: Demo) -> None:
    headers, body = demo.curl(0)
    assert headers.startswith("HTTP/1.1 200")
    assert "x-gateway-attempts: groq-down:503,groq:200" in headers
    assert '"total_tokens"' in body


def test_the_printed_stream_falls_back(demo: Demo) -> None:
    headers, body = demo.curl(1)
    assert headers.startswith("HTTP/1.1 200")
    assert "x-gateway-attempts: groq-down:503,groq:200" in headers
    assert body.rstrip().endswith("data: [DONE]")


def test_the_demo_tells_why_a_request_went_where_it_went(demo: Demo) -> None:
    headers, _ = demo.curl(0)
    printed = _first(r"(?m)^GATEWAY_STATE_DIR=.* gateway explain .*$", demo.printed)
    command = printed.replace(" gateway ", f" {sys.executable} -m gateway ")
    told = subprocess.run(
        ["sh", "-c", command.replace("INFERENCE_ID", _first(r"(?<=inference-id: )[0-9a-f-]{36}", headers))],
        cwd=f"/proc/{demo.process.pid}/cwd",
        env=demo.environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "answered by groq, the second that was asked" in told
    assert "groq-down: 503" in told


@pytest.mark.parametrize("index", [0, 1], ids=["openai", "huggingface_hub"])
def test_the_clients_in_the_page_get_an_answer(demo: Demo, index: int) -> None:
    program = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[index]
    program = f"KEY = {demo.key!r}\n{program}".replace("http://127.0.0.1:8000", demo.address)
    done = subprocess.run(
        [sys.executable, "-c", program], env=demo.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_routes_in_the_page_are_served_and_those_not_yet_are_not(demo: Demo) -> None:
    table = PAGE.partition("\n## Routes\n")[2].partition("\n## ")[0]
    plain = re.findall(r"`(?:GET |POST )?(/[\w/.]+)`", table)
    not_yet = re.findall(r"`(POST|GET) (/[\w/]*)`", PAGE.partition("\nNot yet:\n")[2])
    assert len(plain) > 8
    assert not_yet
    with httpx.Client(base_url=demo.address, trust_env=False) as client:
        assert [path for path in plain if client.get(path).status_code == 404] == []
        served = [path for method, path in not_yet if client.request(method, path).status_code != 404]
        assert served == [], "these work by now: tell so in README.md"


def test_ctrl_c_ends_the_demo_and_all_of_it(demo: Demo) -> None:
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(STOP_S) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(demo.process.pid, 0)
    assert not Path("/proc", str(demo.process.pid)).exists()
