from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from partwise.client import Client, ClientError
from partwise.client.profiles import (
    DEFAULT_SERVER,
    Profile,
    find_server,
    profiles_file,
    read_profiles,
    write_profiles,
)

WORK = Profile("https://work.example", "work-token")
HOME = Profile("https://home.example:8443/api/", "home-token")


@pytest.fixture
def config(tmp_path: Path) -> dict[str, str]:
    """An environment with two profiles."""
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    write_profiles(profiles_file(environment), {"default": HOME, "work": WORK})
    return environment


def test_arguments_override_the_environment_and_that_the_profile(config: dict[str, str]) -> None:
    both = {"PARTWISE_SERVER": "https://ci.example", "PARTWISE_TOKEN": "ci-token"}
    assert find_server(environment={"XDG_CONFIG_HOME": "/nowhere"}) == Profile(DEFAULT_SERVER)
    assert find_server(environment=config) == HOME
    assert find_server(environment=config | {"PARTWISE_PROFILE": "work"}) == WORK
    assert find_server(environment=config | both) == Profile("https://ci.example", "ci-token")
    assert find_server(environment=config | both | {"PARTWISE_PROFILE": "work"}) == Profile(
        "https://ci.example", "ci-token"
    )
    assert find_server(profile="work", environment=config | both) == WORK
    assert find_server("https://a.example", "mine", environment=config | both) == Profile("https://a.example", "mine")
    assert find_server(token="mine", environment=config) == Profile(HOME.server, "mine")
    assert find_server(token="", environment=config) == Profile(HOME.server)
    # Variables that are set to nothing are not set.
    assert (
        find_server(environment=config | {"PARTWISE_SERVER": "", "PARTWISE_TOKEN": "", "PARTWISE_PROFILE": ""}) == HOME
    )


@pytest.mark.parametrize(
    "server,token",
    [
        ("https://HOME.example:8443/api", "home-token"),
        ("https://home.example/api/", None),
        ("https://home.example:8443/", None),
        ("http://home.example:8443/api/", None),
        ("https://evil.example:8443/api/", None),
        ("https://home.example:8443@evil.example/api/", None),
        ("https://me:secret@home.example:8443/api/", None),
        ("https://home.example:port/api/", None),
    ],
)
def test_the_token_of_a_profile_is_sent_to_its_own_server_alone(
    config: dict[str, str], server: str, token: str | None
) -> None:
    assert find_server(server, environment=config).token == token
    assert find_server(environment=config | {"PARTWISE_SERVER": server}).token == token


def test_only_the_owner_may_read_the_file_and_a_link_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "partwise" / "profiles.json"
    write_profiles(path, {"default": WORK})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_profiles(path) == {"default": WORK}
    link = tmp_path / "link.json"
    link.symlink_to(path)
    write_profiles(link, {"default": HOME})
    assert link.is_symlink()
    assert read_profiles(path) == {"default": HOME}
    assert os.listdir(path.parent) == ["profiles.json"]
    assert "token" not in repr(WORK)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(config: dict[str, str], mode: int) -> None:
    path = profiles_file(config)
    path.chmod(mode)
    with pytest.raises(ClientError, match=f"chmod 600 {path}"):
        find_server(environment=config)
    # It is not needed where all is said.
    assert find_server("http://a", "b", environment=config) == Profile("http://a", "b")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"profiles": []}x',
        b'{"profiles": ["default"]}',
        b'{"profiles": "default"}',
        b'{"profiles": 7}',
        b'{"profiles": {"default": []}}',
        b'{"profiles": {"default": {"token": "x"}}}',
        b'{"profiles": {"default": {"server": ""}}}',
        b'{"profiles": {"default": {"server": 7}}}',
        b'{"profiles": {"default": {"server": "x", "token": ["y"]}}}',
        b'{"profiles": {"../../x": {"server": "x"}}}',
        b'{"profiles": {"a\\n\\u001b[2J": {"server": "x"}}}',
        b"[" * 100_000,
        b'{"profiles": {}, "more": "' + b"x" * 1024 * 1024 + b'"}',
    ],
)
def test_a_damaged_file_is_named(config: dict[str, str], content: bytes) -> None:
    path = profiles_file(config)
    path.write_bytes(content)
    with pytest.raises(ClientError, match=r"profiles\.json") as caught:
        find_server(environment=config)
    assert str(caught.value).isprintable()


def test_what_is_no_file_is_named(config: dict[str, str]) -> None:
    path = profiles_file(config)
    path.unlink()
    os.mkfifo(path, 0o600)
    with pytest.raises(ClientError, match="not a regular file"):
        find_server(environment=config)
    path.unlink()
    path.mkdir()
    with pytest.raises(ClientError, match=r"profiles\.json"):
        find_server(environment=config)


def test_a_profile_that_does_not_exist_is_an_error(config: dict[str, str]) -> None:
    with pytest.raises(ClientError, match=r"no profile 'work2'.*default, work"):
        find_server(profile="work2", environment=config)
    with pytest.raises(ClientError, match="not a profile name"):
        find_server(profile="../x", environment=config)


def test_without_a_home_profiles_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert find_server(environment={"XDG_CONFIG_HOME": "relative"}) == Profile(DEFAULT_SERVER)
    with pytest.raises(ClientError, match="HOME is not set"):
        find_server(profile="work", environment={})


def test_a_client_uses_the_profile(config: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = profiles_file(config)
    path.write_text(json.dumps({"profiles": {"ci": {"server": "http://127.0.0.1:9/x", "token": "a b"}}}))
    monkeypatch.setenv("XDG_CONFIG_HOME", config["XDG_CONFIG_HOME"])
    monkeypatch.setenv("PARTWISE_PROFILE", "ci")
    with pytest.raises(ClientError, match="token contains a space"):
        Client()
    with Client(profile="ci", token="") as client:
        assert client._http.url("x") == "http://127.0.0.1:9/x/x"
