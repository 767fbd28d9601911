from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from partwise.client import ClientError
from partwise.client.proxies import Proxy, proxy_for


def found(server: str, **environment: str) -> Proxy | None:
    return proxy_for(urlsplit(server), environment)


@pytest.mark.parametrize(
    "value, proxy",
    [
        ("http://proxy:3128", Proxy("http://proxy:3128", None)),
        ("proxy:3128", Proxy("http://proxy:3128", None)),
        ("proxy", Proxy("http://proxy:80", None)),
        ("https://proxy", Proxy("https://proxy:443", None)),
        ("http://ann:p%40ss@proxy:3128/", Proxy("http://proxy:3128", "ann:p@ss")),
        ("ann@[::1]:8080", Proxy("http://[::1]:8080", "ann:")),
        ("  ", None),
    ],
)
def test_a_proxy_is_read_as_curl_reads_it(value: str, proxy: Proxy | None) -> None:
    assert found("http://files.example.org", http_proxy=value) == proxy


def test_which_variable_counts() -> None:
    both = {"http_proxy": "a:1", "https_proxy": "b:1", "ALL_PROXY": "c:1"}
    assert found("http://x", **both) == Proxy("http://a:1", None)
    assert found("https://x", **both) == Proxy("http://b:1", None)
    assert found("https://x", HTTPS_PROXY="d:1") == Proxy("http://d:1", None)
    assert found("https://x", all_proxy="c:1") == Proxy("http://c:1", None)
    assert found("http://x", HTTP_PROXY="e:1") is None, "a CGI request could set it"


@pytest.mark.parametrize("value", ["socks5://proxy:1080", "socks5h://proxy", "ftp://proxy", "http://", "http://x:port"])
def test_a_proxy_that_cannot_be_used_is_a_sentence(value: str) -> None:
    with pytest.raises(ClientError, match="http_proxy in the environment"):
        found("http://files.example.org", http_proxy=value)


@pytest.mark.parametrize(
    "server, entries, direct",
    [
        ("http://files.example.org", "example.org", True),
        ("http://files.example.org", ".example.org", True),
        ("http://files.example.org", "*.example.org", True),
        ("http://example.org", ".example.org", True),
        ("http://FILES.example.org.", "other, files.Example.org", True),
        ("http://badexample.org", "example.org", False),
        ("http://files.example.org", "*", True),
        ("http://files.example.org", "", False),
        ("http://files.example.org:8080", "files.example.org:8080", True),
        ("http://files.example.org:8081", "files.example.org:8080", False),
        ("https://files.example.org", "files.example.org:443", True),
        ("http://10.1.2.3", "10.1.2.3", True),
        ("http://10.1.2.3", "10.0.0.0/8", True),
        ("http://11.1.2.3", "10.0.0.0/8", False),
        ("http://10.1.2.3:80", "2.3", False),
        ("http://10.1.2.3:8080", "10.1.2.3:8080", True),
        ("http://[::1]:8080", "::1", True),
        ("http://[::1]:8080", "[::1]", True),
        ("http://[fd00::5]", "fd00::/8", True),
        ("http://[::1]:8080", "fd00::/8", False),
        ("http://localhost", "localhost 127.0.0.1", True),
    ],
)
def test_who_is_reached_without(server: str, entries: str, direct: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        assert (found(server, http_proxy="p:1", https_proxy="p:1", **{name: entries}) is None) == direct
