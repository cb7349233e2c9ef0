"""deploy/ speaks of this gateway: its settings, its commands, its metrics. No container engine is needed to see it."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.cli.config import env_example, shipped_table
from gateway.cli.main import parser
from gateway.config.settings import table
from gateway.metrics import Metrics
from tests.architecture import ROOT

DEPLOY: Final = ROOT / "deploy"
SETTINGS: Final = {name for name, _, _ in table()}


def _documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def _only(kind: str) -> dict[str, Any]:
    (found,) = [document for document in _documents("kubernetes.yaml") if document["kind"] == kind]
    return dict(found)


def _sample_names() -> set[str]:
    """Every name that a query may use, those of histograms included."""
    names: set[str] = set()
    for family in text_string_to_metric_families(Metrics().exposition().decode()):
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {family.name + end for end in ends}
    return names


def test_the_example_of_the_environment_is_what_init_writes() -> None:
    assert (DEPLOY / "env.example").read_text() == env_example(shipped_table()), "run `make docs`"


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "kubernetes.yaml", "README.md"])
def test_every_setting_that_is_named_exists(name: str) -> None:
    named = {word.removesuffix("_FILE") for word in re.findall(r"\b(?:GATEWAY|REDIS)_[A-Z_]+\b", _text(name))}
    assert named - SETTINGS == set()


@pytest.mark.parametrize("name", ["alerts.yml", "grafana.json"])
def test_every_metric_that_is_asked_for_exists(name: str) -> None:
    asked = set(re.findall(r"\bgateway_[a-z_]+\b", _text(name)))
    assert asked
    assert asked - _sample_names() == set()


def test_the_image_holds_what_it_copies_and_runs_what_exists() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", _text("Dockerfile"), re.MULTILINE):
        *sources, _ = [word for word in line.split() if not word.startswith("--")]
        assert all((ROOT / source).exists() for source in sources), line
    assert json.loads(_found(r"^ENTRYPOINT (.*)$", "Dockerfile")) == ["gateway"]
    parser().parse_args(json.loads(_found(r"^CMD (.*)$", "Dockerfile")))


def test_compose_starts_the_gateway_with_arguments_it_knows() -> None:
    (compose,) = _documents("compose.yaml")
    gateway = compose["services"]["gateway"]
    parser().parse_args(gateway["command"])
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (DEPLOY / source).exists(), volume
    noeviction = compose["services"]["redis"]["command"]
    assert noeviction[noeviction.index("--maxmemory-policy") + 1] == "noeviction"


def test_a_pod_has_the_time_to_drain_and_a_volume_for_its_journal() -> None:
    pod = _only("StatefulSet")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    parser().parse_args(container["args"])
    drain_s = next(int(value["value"]) for value in container["env"] if value["name"] == "GATEWAY_DRAIN_SECONDS")
    wait_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= drain_s + wait_s + 5
    (claim,) = _only("StatefulSet")["spec"]["volumeClaimTemplates"]
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted[claim["metadata"]["name"]] == _found(r"GATEWAY_STATE_DIR=(\S+)", "Dockerfile")
    assert _found(r"GATEWAY_MAPPINGS=(\S+)", "Dockerfile").startswith(mounted["mappings"] + "/")


def test_alerts_say_what_happened() -> None:
    (alerts,) = _documents("alerts.yml")
    for rule in alerts["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def _text(name: str) -> str:
    return (DEPLOY / name).read_text()


def _found(pattern: str, name: str) -> str:
    match = re.search(pattern, _text(name), re.MULTILINE)
    assert match, pattern
    return match[1]
