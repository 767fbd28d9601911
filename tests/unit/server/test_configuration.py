"""The three ways of a setting, which of them wins, and that the page about them tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ByteSize, TypeAdapter, ValidationError
from typer.testing import CliRunner

from partwise.cli.app import app
from partwise.http.problems import PROBLEMS, REFUSALS
from partwise.server.limits import LIMITS
from partwise.server.settings import BadConfigFile, Settings, ignored_variables

METRICS = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"
ALL_PROBLEMS = [*PROBLEMS.values(), *REFUSALS]
PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "partwise.toml"
    monkeypatch.setenv("PARTWISE_CONFIG", str(path))
    return path


def test_options_over_environment_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('port = 1\nworkers = 1\nquota = "2GiB"\nauth = "token"')
    monkeypatch.setenv("PARTWISE_PORT", "2")
    monkeypatch.setenv("PARTWISE_WORKERS", "2")
    settings = Settings(workers=3)
    assert (settings.quota, settings.auth, settings.port, settings.workers) == (2 << 30, "token", 2, 3)


@pytest.mark.parametrize("text", ["port = ", "\xff\xfe", "[table"])
def test_a_file_that_is_no_toml(file: Path, text: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadConfigFile, match=re.escape(str(file))):
        Settings()


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(BadConfigFile):
        Settings()


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("prot = 1", "prot in {}: there is no such"),
        ('port = "many"', "port in {}: write a whole number"),
        ('quota = "ten"', "quota in {}: write a size"),
        ("migrate = []", "migrate in {}: write true or false"),
        ("host = 1", "host in {}: write a text"),
        ("[server]\nport = 1", "server in {}: there is no"),
    ],
)
def test_a_mistake_in_the_file_is_one(file: Path, text: str, wrong: str) -> None:
    file.write_text(text)
    with pytest.raises(ValidationError):
        Settings()
    ran = CliRunner().invoke(app, ["config"])
    assert ran.exit_code == 2
    assert ran.output.startswith(f"partwise: {wrong.format(file)}")


def test_a_mistake_in_a_variable_names_it_and_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTWISE_QUOTA", "rubbish")
    ran = CliRunner().invoke(app, ["config"])
    assert ran.exit_code == 2
    assert ran.output.startswith("partwise: PARTWISE_QUOTA: write a size")
    assert "rubbish" not in ran.output


@pytest.mark.parametrize("name, value", [("QUOTA", ""), ("PORT", "tcp://10.0.0.1:24817")])
def test_a_variable_that_does_not_count_is_not_blamed(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PARTWISE_{name}", value)
    file.write_text(f'{name.lower()} = "many"')
    ran = CliRunner().invoke(app, ["config"])
    assert ran.exit_code == 2
    assert ran.output.startswith(f"partwise: {name.lower()} in {file}: write a")


def test_a_variable_that_is_nearly_a_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is misspelt limits nothing. Other names are other programs'."""
    for name in ("PARTWISE_QUOTAA", "PARTWISE_TOKEN", "PARTWISE_SERVICE_HOST", "PARTWISE_PORT_24817_TCP_ADDR"):
        monkeypatch.setenv(name, "1")
    told = ignored_variables()
    assert told["PARTWISE_QUOTAA"].endswith("Is PARTWISE_QUOTA meant?")
    assert not told.keys() & {"PARTWISE_TOKEN", "PARTWISE_SERVICE_HOST", "PARTWISE_PORT_24817_TCP_ADDR"}


def test_what_is_shown_is_a_file_of_the_same_settings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('quota = "2GiB"\nport = 5\n')
    monkeypatch.setenv("PARTWISE_WORKERS", "2")
    monkeypatch.setenv("PARTWISE_CATALOG", "postgresql://u:very-secret@h/d")
    shown = CliRunner().invoke(app, ["config"])
    assert shown.exit_code == 0
    assert "very-secret" not in shown.output
    assert f"({file})\nquota = 2147483648\n" in shown.output
    assert "(environment)\nworkers = 2\n" in shown.output
    before = Settings()
    file.write_text(shown.output)
    monkeypatch.delenv("PARTWISE_WORKERS")
    assert Settings() == before


def test_the_page_of_limits_has_each_with_default_problem_and_figure() -> None:
    page = METRICS.read_text()
    section = page[page.index("## Limits") :]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", section, re.M)
    defaults = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", PAGE.read_text(), re.M))
    assert [row[0] for row in rows] == list(LIMITS)
    problems = {f"[{problem.name}](../errors.md#{problem.name}) ({problem.status})" for problem in ALL_PROBLEMS}
    for setting, default, problem, figure in rows:
        assert default == defaults[setting]
        by_class = [PROBLEMS[cls].name for cls in PROBLEMS if cls.setting == setting]
        assert by_class == [] or by_class[0] in problem
        assert not problem.startswith("[") or problem in problems
        near = LIMITS[setting]
        assert figure == "" if near is None else f"`{near}" in figure
        assert near is None or f"| `{near}" in page[: page.index("## Limits")], "explained among the figures"


def test_the_page_has_every_setting_with_its_default() -> None:
    rows = {
        name: (default, text)
        for name, default, text in re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", PAGE.read_text(), re.M)
    }
    assert set(rows) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        default, text = rows[name]
        assert text == field.description
        if field.default is None:
            assert default == "none"
        elif isinstance(field.default, ByteSize):
            assert TypeAdapter(ByteSize).validate_python(default.strip("`")) == field.default
        else:
            assert default == f"`{field.default}`"
