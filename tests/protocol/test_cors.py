"""Pages of other origins: let in only where the operator names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from partwise.server.settings import Settings
from tests.support.server import API, Http, ServerProcess

FRIEND, STRANGER = "https://files.example.org", "https://evil.example.org"
PREFLIGHT = {"Access_Control_Request_Method": "PATCH", "Access_Control_Request_Headers": "tus-resumable,upload-offset"}


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    origins = f"{FRIEND}, https://other.example.org"
    with ServerProcess(tmp_path_factory.mktemp("data"), cors_origins=origins) as server:
        yield server.port


@pytest.fixture
def http(port: int) -> Iterator[Http]:
    with Http(port) as connection:
        yield connection


@pytest.mark.parametrize("path", ["/tus/", "/tus/some-upload", f"{API}uploads/"])
def test_a_named_origin_may_ask_beforehand(http: Http, path: str) -> None:
    answer = http("OPTIONS", path, Origin=FRIEND, **PREFLIGHT)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", [STRANGER, "null", f"{FRIEND}.evil.org", "http://files.example.org"])
def test_others_may_not(http: Http, origin: str) -> None:
    assert "Access-Control-Allow-Origin" not in http("OPTIONS", "/tus/", Origin=origin, **PREFLIGHT).headers
    created = http("POST", "/tus/", Origin=origin, Upload_Length="5", Tus_Resumable="1.0.0")
    assert created.status == 403
    assert http("POST", f"{API}uploads/", {"size": 5}, Origin=origin).status == 403


def test_a_named_origin_uploads_and_reads_what_is_answered(http: Http) -> None:
    created = http("POST", "/tus/", Origin=FRIEND, Upload_Length="5", Tus_Resumable="1.0.0")
    assert created.status == 201
    assert created.headers["Access-Control-Allow-Origin"] == FRIEND
    exposed = created.headers["Access-Control-Expose-Headers"]
    assert {"Location", "Upload-Offset", "Tus-Resumable"} <= {name.strip() for name in exposed.split(",")}
    assert http("POST", f"{API}uploads/", {"size": 5}, Origin=FRIEND).status == 201


@pytest.mark.parametrize("value", ["*", "files.example.org", "https://files.example.org/", "ftp://x", "https://"])
def test_only_origins_can_be_named(value: str) -> None:
    with pytest.raises(ValidationError, match="origin"):
        Settings(data=Path("unused"), cors_origins=value)


def test_the_operator_may_allow_more_request_fields(tmp_path: Path) -> None:
    asked = PREFLIGHT | {"Access_Control_Request_Headers": "x-trace,content-range"}
    server = ServerProcess(tmp_path, cors_origins=FRIEND, cors_request_headers="X-Trace, X-Other")
    with server, Http(server.port) as http:
        assert http("OPTIONS", f"{API}uploads/", Origin=FRIEND, **asked).status == 200
    with ServerProcess(tmp_path, cors_origins=FRIEND) as server, Http(server.port) as http:
        assert http("OPTIONS", f"{API}uploads/", Origin=FRIEND, **asked).status == 400
    with pytest.raises(ValidationError, match="is not a valid header field"):
        Settings(cors_request_headers="X Trace")
