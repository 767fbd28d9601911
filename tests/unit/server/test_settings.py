"""Settings from the environment and from arguments."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from partwise.server.settings import Settings


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTWISE_PORT", "1234")
    monkeypatch.setenv("PARTWISE_WORKERS", "3")
    settings = Settings(port=99)
    assert (settings.port, settings.workers) == (99, 3)


def test_sizes_have_units_and_limits_are_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTWISE_QUOTA", "2GiB")
    monkeypatch.setenv("PARTWISE_IDLE_EXPIRY_DAYS", "0.5")
    limits = Settings().limits
    assert (limits.quota, limits.idle_expiry, limits.max_upload_size) == (2 << 30, timedelta(hours=12), None)


@pytest.mark.parametrize("given, prefix", [("/a/b/", "/a/b/"), ("a", "/a/"), ("", "/"), ("/", "/")])
def test_the_prefix_has_its_slashes(given: str, prefix: str) -> None:
    assert Settings(api_prefix=given).api_prefix == prefix


def test_the_catalog_is_in_the_data_folder() -> None:
    assert Settings(data=Path("/srv/x")).catalog_url == "sqlite:////srv/x/catalog.sqlite3"


@pytest.mark.parametrize("name, value", [("port", -1), ("workers", 0), ("auth", "maybe"), ("quota", "lots")])
def test_wrong_settings_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Settings(**{name: value})  # type: ignore[arg-type]
