"""Lists, details, downloads, and what describes the server."""

from __future__ import annotations

import os

import pytest
import schemathesis

from partwise.core.digests import format_digest_field
from partwise.protocols.pulp.models import UploadDetail
from tests.support.server import API, Http, exchange, sha256
from tests.support.server import ServerProcess as Server


def test_pages(http: Http) -> None:
    hrefs = [http.create(1, filename=f"page-{number}.bin") for number in range(5)]
    first = http("GET", f"{API}uploads/?limit=2&search=PAGE-").json
    assert first["count"] == 5
    assert [item["pulp_href"] for item in first["results"]] == hrefs[:2:-1]
    assert first["previous"] is None
    second = http("GET", first["next"]).json
    assert [item["pulp_href"] for item in second["results"]] == hrefs[2:0:-1]
    last = http("GET", second["next"]).json
    assert [item["pulp_href"] for item in last["results"]] == hrefs[:1]
    assert last["next"] is None
    assert http("GET", last["previous"]).json["results"] == second["results"]
    # Clients that count by themselves, and that take the rest of `next` along.
    assert http("GET", f"{API}uploads/?limit=2&search=page-&offset=2").json["results"] == second["results"]
    counted = second["next"].replace("offset=4", "offset=3")
    assert [item["pulp_href"] for item in http("GET", counted).json["results"]] == hrefs[1::-1]
    # A page begins behind the last item of the one before, whatever has come since.
    newer = http.create(1, filename="page-5.bin")
    assert http("GET", first["next"]).json["results"] == second["results"]
    http("DELETE", newer)
    for after in ("x", "!!", "MC4xLg", "MS45OTk5OTk5OTk5OTk5OTk5OTkuYQ"):
        assert http("GET", f"{API}uploads/?offset=1&after={after}").problem == (400, "bad-request")
    assert http("GET", f"{API}uploads/?state=completed&search=page-").json["count"] == 0
    assert http("GET", f"{API}uploads/?state=none").problem == (400, "bad-request")
    for href in hrefs:
        http("DELETE", href)


@pytest.mark.files_only("it damages the artifact's file")
def test_a_download_of_lost_bytes_is_an_error_from_the_start(server: Server, http: Http) -> None:
    data = os.urandom(5000)
    artifact = http.store(data)["artifact"]
    path = server.data / "artifacts" / sha256(data)[:2] / sha256(data)[2:]
    path.chmod(0o600)
    os.truncate(path, 100)
    assert http("GET", f"{artifact}download/").problem == (500, "bytes-lost")
    path.unlink()
    assert http("GET", f"{artifact}download/").problem == (404, "not-found")
    http("DELETE", artifact)


def test_fields(http: Http) -> None:
    href = http.create(3)
    assert http("GET", f"{href}?fields=size,state").json == {"size": 3, "state": "open"}
    assert set(http("GET", f"{API}uploads/?fields=pulp_href").json["results"][0]) == {"pulp_href"}
    assert "size" not in http("GET", f"{href}?exclude_fields=size").json
    for names in ("chunks", "missing_count", "chunks,missing_count", "size,missing", "size,chunks"):
        assert set(http("GET", f"{href}?fields={names}").json) == set(names.split(","))
    assert http("GET", f"{href}?fields=nothing").json == {}


@pytest.mark.parametrize("query", ["", "?digests=recorded", "?digests=true"])
def test_an_upload_is_shown_as_the_document_says(http: Http, query: str) -> None:
    """What is written by hand, since there may be many chunks, is the model that the document is made from."""
    href = http.create(10, filename='"größe"\n.bin')
    http.put(href, 7, b"ab")
    http.put(href, 0, b"abc")
    shown = http("GET", href + query)
    detail = UploadDetail.model_validate_json(shown.body, strict=True)
    assert set(shown.json) == set(UploadDetail.model_fields)
    assert detail.filename == '"größe"\n.bin'
    assert [(chunk.offset, chunk.size) for chunk in detail.chunks] == [(0, 3), (7, 2)]
    assert [(gap.offset, gap.size) for gap in detail.missing] == [(3, 4), (9, 1)]
    assert all(("sha256" in chunk) == bool(query) for chunk in shown.json["chunks"])


def test_missing_ranges_are_capped(http: Http) -> None:
    href = http.create(1000)
    for number in range(120):
        assert http.put(href, 2 * number, b"x").status == 200
    shown = http("GET", href).json
    assert (len(shown["chunks"]), len(shown["missing"]), shown["missing_count"]) == (120, 100, 120)
    refused = http.commit(href, b"")
    assert (len(refused.json["missing"]), refused.json["count"]) == (100, 120)
    overlapping = http.put(href, 0, b"x" * 300)
    assert (len(overlapping.json["chunks"]), overlapping.json["count"]) == (100, 120)


def test_tasks(http: Http) -> None:
    data = os.urandom(10)
    href = http.create(len(data))
    http.put(href, 0, data)
    task = http("POST", f"{href}commit/", {"sha256": sha256(data)}).json["task"]
    ended = http.ended(task)
    listed = http("GET", f"{API}tasks/").json["results"][0]
    assert listed == ended
    assert listed["reserved_resources_record"] == [href]
    assert listed["progress_reports"][0]["done"] == 100


@pytest.mark.parametrize(
    "field, status, first, last",
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=990-", 206, 990, 1000),
        ("bytes=-10", 206, 990, 1000),
        ("bytes=-5000", 206, 0, 1000),
        ("bytes=0-999999", 206, 0, 1000),
        ("BYTES=0-0", 206, 0, 1),
        ("bytes=0-1,5-6", 200, 0, 1000),
        ("bytes=5-4", 200, 0, 1000),
        ("bytes=-", 200, 0, 1000),
        ("lines=0-1", 200, 0, 1000),
        ("bytes=" + ",".join(["0-"] * 5000), 200, 0, 1000),
    ],
    ids=lambda value: str(value)[:20],
)
def test_ranges_of_a_download(http: Http, field: str, status: int, first: int, last: int) -> None:
    data = bytes(range(250)) * 4
    url = f"{http.store(data)['artifact']}download/"
    answer = http("GET", url, Range=field)
    assert (answer.status, answer.body) == (status, data[first:last])
    expected = f"bytes {first}-{last - 1}/1000" if status == 206 else None
    assert answer.headers["Content-Range"] == expected


@pytest.mark.parametrize("field", ["bytes=1000-", "bytes=5000-6000", "bytes=-0", "bytes=99999999999999999-"])
def test_ranges_that_an_artifact_does_not_have(http: Http, field: str) -> None:
    url = f"{http.store(bytes(range(250)) * 4)['artifact']}download/"
    answer = http("GET", url, Range=field)
    assert answer.problem == (416, "range-not-satisfiable")
    assert answer.headers["Content-Range"] == "bytes */1000"


def test_conditions_of_a_download(http: Http) -> None:
    data = os.urandom(100)
    url = f"{http.store(data)['artifact']}download/"
    etag = f'"{sha256(data)}"'
    assert http("GET", url).headers["ETag"] == etag
    unchanged = http("GET", url, If_None_Match=f'"x", W/{etag}')
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert http("GET", url, If_None_Match='"x"').status == 200
    assert http("GET", url, If_Match='"x"').problem == (412, "precondition-failed")
    assert http("GET", url, If_Match=etag).status == 200
    assert http("GET", url, If_Match=f"W/{etag}").status == 412
    assert http("GET", url, If_None_Match=f"W/{etag}").status == 304
    assert http("GET", url, Range="bytes=0-1", If_Range=etag).status == 206
    assert http("GET", url, Range="bytes=0-1", If_Range='"x"').status == 200
    assert http("GET", url, Range="bytes=0-1", If_Range="Wed, 21 Oct 2015 07:28:00 GMT").status == 200


def test_head_of_a_download(http: Http) -> None:
    data = os.urandom(100)
    answer = http("HEAD", f"{http.store(data)['artifact']}download/")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "100")


def test_a_download_is_saved_and_never_run(http: Http) -> None:
    name = '../a"b\r\nX: y\u202e<script>\u00e9.html'
    upload = http.store(os.urandom(20), filename=name, media_type="text/html")
    headers = http("GET", f"{upload['artifact']}download/").headers
    disposition = headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename=\"a_b__X: y_<script>_.html\"; filename*=UTF-8''a%22b__X")
    assert "X" not in headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in headers["Content-Security-Policy"]
    assert headers["Content-Type"] == "text/html"
    assert headers["Repr-Digest"].startswith("sha-256=:")


def test_documents(http: Http) -> None:
    assert "{upload_href}commit/" in http("GET", f"{API}docs/api.json").json["paths"]
    plain = http("GET", f"{API}docs/openapi.json")
    assert plain.headers["Content-Type"] == "application/json"
    schemathesis.openapi.from_dict(plain.json).validate()


def test_status_and_health(http: Http) -> None:
    status = http("GET", f"{API}status/").json
    assert {version["component"] for version in status["versions"]} == {"core", "partwise"}
    assert status["storage"]["total"] >= status["storage"]["free"] > 0
    assert http("GET", "/livez").status == 200
    assert http("GET", "/readyz").status == 200


def test_the_type_of_a_problem_leads_to_its_explanation(http: Http) -> None:
    page, _, name = http("GET", f"{API}uploads/x/").json["type"].partition("#")
    assert f'id="{name}"'.encode() in http("GET", page).body


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "", "127.0.0.1.example.com", "[", "10.0.0.1"])
def test_hosts_that_are_not_this_machine(server: Server, host: str) -> None:
    answer = exchange(server.port, f"GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "127.9.9.9:80", "[::1]:80", "x.localhost"])
def test_hosts_that_are(server: Server, host: str) -> None:
    answer = exchange(server.port, f"GET /livez HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_changes_come_from_own_pages_only(server: Server, http: Http) -> None:
    for origin in ("http://example.com", "null", "http://localhost:1", f"https://127.0.0.1:{server.port}"):
        assert http("POST", f"{API}uploads/", {"size": 1}, Origin=origin).problem == (403, "foreign-origin")
    assert http("POST", f"{API}uploads/", {"size": 1}, Origin=server.url).status == 201
    assert http("GET", f"{API}uploads/", Origin="http://example.com").status == 200


def test_no_server_field_and_keep_alive(http: Http) -> None:
    assert http("GET", "/livez").headers["Server"] is None
    assert http("GET", "/livez").headers["Connection"] is None


def test_digests_of_chunks(http: Http) -> None:
    href = http.create(12)
    http.put(href, 0, b"aaaa", Content_Digest=format_digest_field(sha256(b"aaaa")))
    http.put(href, 8, b"cccc")
    recorded = http("GET", f"{href}?digests=recorded").json["chunks"]
    assert [chunk["offset"] for chunk in recorded] == [0, 8]
    assert recorded[0]["sha256"] == sha256(b"aaaa")
    assert recorded[1]["sha256"] in (None, sha256(b"cccc")), "an object's is always known"
    assert http("GET", f"{href}?digests=true&at=8&at=5").json["chunks"] == [
        {"offset": 8, "size": 4, "sha256": sha256(b"cccc")}
    ]
    assert len(http("GET", f"{href}?digests=true").json["chunks"]) == 2
    assert "sha256" not in http("GET", href).json["chunks"][0]
    assert http("GET", f"{href}?digests=true&at=x").problem == (400, "bad-request")


def test_digests_of_the_chunks_of_what_is_completed(http: Http) -> None:
    data = os.urandom(12)
    href = http.create(len(data))
    for offset in (6, 0):
        assert http.put(href, offset, data[offset : offset + 6]).status == 200
    upload = http.commit(href, data).json
    assert http("GET", f"{href}?digests=true").json["chunks"] == [
        {"offset": offset, "size": 6, "sha256": sha256(data[offset : offset + 6])} for offset in (0, 6)
    ]
    assert http("GET", f"{href}?digests=true&at=6").json["chunks"][0]["sha256"] == sha256(data[6:])
    assert http("DELETE", upload["artifact"]).status == 204
    answer = http("GET", f"{href}?digests=true")
    assert answer.status == 200 or answer.problem == (404, "not-found"), "objects stay for a while"
    assert http("GET", href).json["chunks"] == [{"offset": 0, "size": 6}, {"offset": 6, "size": 6}]
