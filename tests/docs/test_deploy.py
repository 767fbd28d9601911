"""What the files in ``deploy/`` name exists: metrics, settings, files, and the texts that the guides show."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from partwise.server.settings import Settings
from tests.support.nginx import guide_block
from tests.support.server import Http, ServerProcess

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = sorted(DEPLOY.glob("docker/compose*.yaml"))


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of the families that a server with several workers has, as Prometheus reads them."""
    with ServerProcess(tmp_path_factory.mktemp("data"), workers=2) as server, Http(server.port) as http:
        text = http("GET", "/metrics").body.decode()
    return set(re.findall(r"^# TYPE (partwise_[a-z_]+) ", text, re.MULTILINE)) - set(
        re.findall(r"^# TYPE (partwise_[a-z_]+_created) ", text, re.MULTILINE)
    )


def test_the_page_of_metrics_has_each(exposed: set[str]) -> None:
    table = (ROOT / "docs" / "reference" / "metrics.md").read_text().partition("## Limits")[0]
    assert set(re.findall(r"`(partwise_[a-z_]+)", table)) == exposed


def expressions(value: Any) -> Iterator[str]:
    """All PromQL in a file: values of ``expr`` and ``query``."""
    if isinstance(value, dict):
        yield from (text for key, text in value.items() if key in ("expr", "query") and isinstance(text, str))
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from expressions(one)


@pytest.mark.parametrize("name", ["prometheus/alerts.yml", "grafana/dashboard.json"])
def test_each_metric_exists(name: str, exposed: set[str]) -> None:
    text = (DEPLOY / name).read_text()
    found = list(expressions(json.loads(text) if name.endswith("json") else yaml.safe_load(text)))
    named = {metric for expression in found for metric in re.findall(r"\bpartwise_[a-z_]+", expression)}
    assert len(named) > 5
    series = {f"{name}_bucket" for name in exposed if name.endswith("_seconds")}
    assert named - exposed - series == set()
    assert {problem for text in found for problem in problems_in(text)} <= known_problems()


def problems_in(expression: str) -> set[str]:
    return {name for names in re.findall(r'type=~"([^"]+)"', expression) for name in names.split("|")}


def known_problems() -> set[str]:
    return set(re.findall(r"^### ([a-z-]+)$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))


def test_each_limit_in_an_alert_is_a_setting() -> None:
    found = re.findall(r'setting=~"([^"]+)"', (DEPLOY / "prometheus/alerts.yml").read_text())
    assert {name for names in found for name in names.split("|")} <= Settings.model_fields.keys()


def test_the_unit_and_the_site_are_those_of_the_guides() -> None:
    assert guide_block("systemd", ROOT / "docs" / "operations.md") == (DEPLOY / "systemd/partwise.service").read_text()
    assert guide_block("nginx", ROOT / "docs" / "guides" / "nginx.md") == (DEPLOY / "nginx/partwise.conf").read_text()


def test_the_settings_file_has_settings_alone() -> None:
    text = (DEPLOY / "partwise.toml").read_text()
    values = tomllib.loads(text)
    offered = set(re.findall(r"^# ([a-z_]+) = ", text, re.MULTILINE))
    assert values.keys() | offered <= Settings.model_fields.keys()
    assert offered == {"catalog", "storage"}
    Settings(**values)
    unit = (DEPLOY / "systemd/partwise.service").read_text()
    assert "LogsDirectory=partwise" in unit
    assert str(values["audit_file"]).startswith("/var/log/partwise/")
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[1])  # type: ignore[index]
    assert stop > values["drain_seconds"] + Settings().shutdown_seconds


def test_the_image_is_made_of_what_is_there() -> None:
    text = (DEPLOY / "docker/Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.*) /", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists()
            assert f"!{source}" in (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    assert_settings_exist(set(re.findall(r"\bPARTWISE_[A-Z_]+", text)))
    assert f":{Settings.model_fields['port'].default}/livez" in text


@pytest.mark.parametrize("path", COMPOSE, ids=lambda path: path.name)
def test_compose_files_name_what_is_there(path: Path) -> None:
    file = yaml.safe_load(path.read_text())
    services, volumes = file["services"], file["volumes"].keys()
    server = services["server"]
    folder = path.parent / server["build"]["context"]
    assert (folder / server["build"]["dockerfile"]).exists()
    assert_settings_exist({name for name in server["environment"] if name.startswith("PARTWISE_")})
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in volumes or (path.parent / source).exists()
    grace = int(server["stop_grace_period"].rstrip("s"))
    assert grace > float(server["environment"].get("PARTWISE_DRAIN_SECONDS", 0)) + Settings().shutdown_seconds


def assert_settings_exist(names: set[str]) -> None:
    assert names
    assert {name.removeprefix("PARTWISE_").lower() for name in names} <= Settings.model_fields.keys()


def test_each_file_that_the_guide_names_exists() -> None:
    guide = (ROOT / "docs" / "guides" / "production.md").read_text()
    named = set(re.findall(r"\bdeploy/[\w./]+\w", guide))
    assert len(named) >= 8
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
