from __future__ import annotations

import pytest

from partwise.server.guard import is_loopback


@pytest.mark.parametrize("host", ["localhost", "LocalHost.", "a.localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"])
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "10.0.0.1", "example.com", "localhost.example.com", "127.0.0.1.x"]
)
def test_other_names(host: str) -> None:
    assert not is_loopback(host)
