"""The workflow as people run it: create, chunks in any order, look, commit, artifact, download."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.server import API, Http, ServerProcess, form, sha256


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "form"])
def test_chunks_in_any_order_become_one_artifact(http: Http, raw: bool) -> None:
    data = os.urandom(10_485_760)
    href = http.create(len(data), filename="disk.iso", media_type="application/x-iso9660-image")
    put = http.put if raw else http.put_form
    answer = put(href, 6_291_456, data[6_291_456:], len(data))
    assert answer.status == 200
    assert "chunks" not in answer.json
    shown = http("GET", href).json
    assert shown["chunks"] == [{"offset": 6_291_456, "size": 4_194_304}]
    assert (shown["missing"], shown["missing_count"]) == ([{"offset": 0, "size": 6_291_456}], 1)
    assert put(href, 0, data[:6_291_456]).json["received"] == len(data)

    done = http.commit(href, data)
    assert done.status == 200
    assert (done.json["state"], done.json["sha256"]) == ("completed", sha256(data))
    assert done.json["completed"] is not None

    made = http("POST", f"{API}artifacts/", {"upload": href})
    assert (made.status, made.headers["Location"]) == (201, done.json["artifact"])
    artifact = made.json
    assert (artifact["sha256"], artifact["size"], artifact["md5"]) == (sha256(data), len(data), None)
    download = http("GET", f"{artifact['pulp_href']}download/")
    assert download.body == data
    assert 'filename="disk.iso"' in download.headers["Content-Disposition"]


def test_the_shape_of_a_new_upload(http: Http) -> None:
    answer = http("POST", f"{API}uploads/", {"size": "10485760"})
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    upload = answer.json
    assert answer.headers["Location"] == upload["pulp_href"]
    assert upload["pulp_href"].startswith(f"{API}uploads/")
    assert upload["pulp_href"].endswith("/")
    assert upload["prn"] == f"prn:core.upload:{upload['pulp_href'].split('/')[-2]}"
    assert (upload["size"], upload["state"], upload["user"]) == (10_485_760, "open", "local")
    assert upload["chunk_size"] > 0
    assert upload["parallel"] > 0
    assert upload["pulp_created"].endswith("Z")


@pytest.mark.parametrize("path", ["commit", "commit/"])
def test_commit_by_put_with_and_without_slash(http: Http, path: str) -> None:
    data = os.urandom(100_000)
    href = http.create(len(data))
    http.put(href, 0, data)
    answer = http("PUT", href + path, {"sha256": sha256(data).upper()})
    assert (answer.status, answer.json["sha256"]) == (200, sha256(data))
    again = http("PUT", href + path, {"sha256": sha256(data)})
    assert again.json == answer.json


def test_commit_by_post_answers_with_a_task(http: Http) -> None:
    data = os.urandom(300_000)
    href = http.create(len(data))
    http.put(href, 0, data)
    answer = http("POST", f"{href}commit/", {"sha256": sha256(data)})
    assert answer.status == 202
    assert list(answer.json) == ["task"]
    task = http.ended(answer.json["task"])
    assert (task["state"], task["error"], task["result"]) == ("completed", None, None)
    (artifact,) = task["created_resources"]
    assert http("GET", artifact).json["sha256"] == sha256(data)
    assert http("POST", f"{href}commit/", {"sha256": sha256(data)}).json == answer.json


def test_bodies_of_commit_as_forms(http: Http) -> None:
    data = os.urandom(1000)
    kind = "application/x-www-form-urlencoded"
    created = http("POST", f"{API}uploads/", b"size=1000&filename=a+b", Content_Type=kind)
    assert (created.status, created.json["filename"]) == (201, "a b")
    href = created.json["pulp_href"]
    http.put(href, 0, data)
    assert http("PUT", f"{href}commit", f"sha256={sha256(data)}".encode(), Content_Type=kind).status == 200


def test_commit_without_a_digest_when_every_chunk_was_verified(http: Http) -> None:
    data = os.urandom(2000)
    href = http.create(len(data))
    http.put_form(href, 0, data[:1000], sha256=sha256(data[:1000]))
    http.put(href, 1000, data[1000:])
    assert http.commit(href).problem == (409, "unverified-upload")
    href = http.create(len(data))
    http.put_form(href, 0, data[:1000], sha256=sha256(data[:1000]))
    http.put_form(href, 1000, data[1000:], sha256=sha256(data[1000:]))
    answer = http("PUT", f"{href}commit")
    assert (answer.status, answer.json["sha256"]) == (200, sha256(data))


def test_zero_bytes(http: Http) -> None:
    upload = http.store(b"")
    assert (upload["size"], upload["sha256"]) == (0, sha256(b""))
    download = http("GET", f"{upload['artifact']}download/")
    assert (download.status, download.body) == (200, b"")


def test_the_same_content_is_the_same_artifact(http: Http) -> None:
    data = os.urandom(5000)
    first, second = http.store(data, filename="one"), http.store(data, filename="two")
    assert first["artifact"] == second["artifact"]
    assert (first["artifact_filename"], second["artifact_filename"]) == ("one", "one")
    found = http("GET", f"{API}artifacts/?sha256={sha256(data)}").json
    assert (found["count"], found["results"][0]["filename"]) == (1, "one")
    declared = http("POST", f"{API}uploads/", {"size": len(data), "sha256": sha256(data)}).json
    assert (declared["state"], declared["artifact"]) == ("completed", first["artifact"])
    assert declared["artifact_filename"] == "one"


def test_the_same_chunk_again_changes_nothing_and_other_bytes_replace_it(http: Http) -> None:
    first, second = os.urandom(50_000), os.urandom(50_000)
    href = http.create(50_000)
    assert http.put(href, 0, first).status == 200
    assert http.put(href, 0, first).json["received"] == 50_000
    assert http.put_form(href, 0, second).json["received"] == 50_000
    assert http("GET", f"{href}?digests=true").json["chunks"] == [
        {"offset": 0, "size": 50_000, "sha256": sha256(second)}
    ]
    assert http.commit(href, second).status == 200


@pytest.mark.parametrize("size", [0, 10, 3_000_000])
def test_a_file_in_one_request(http: Http, size: int) -> None:
    data = os.urandom(size)
    content, kind = form(data, sha256=sha256(data))
    answer = http("POST", f"{API}artifacts/", content, Content_Type=kind)
    assert answer.status == 201, answer.body
    assert (answer.json["sha256"], answer.json["size"]) == (sha256(data), size)
    if size:  # the empty file may be there from another test
        assert (answer.json["filename"], answer.json["media_type"]) == ("f", "text/csv")
    assert http("GET", answer.json["file"]).body == data
    content, kind = form(data, sha256="0" * 64)
    assert http("POST", f"{API}artifacts/", content, Content_Type=kind).problem == (400, "chunk-digest-mismatch")


def test_many_chunks_over_many_connections(server: ServerProcess) -> None:
    data = random.Random(7).randbytes(8_000_000)
    piece = 125_000
    with Http(server.port) as http:
        href = http.create(len(data))

    def send(offset: int) -> int:
        with Http(server.port) as connection:
            put = connection.put if offset % 2 else connection.put_form
            return put(href, offset, data[offset : offset + piece], len(data)).status

    offsets = list(range(0, len(data), piece))
    random.Random(8).shuffle(offsets)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, offsets)) == {200}
    with Http(server.port) as http:
        assert http.commit(href, data).status == 200


def test_delete(http: Http) -> None:
    href = http.create(10)
    assert http("DELETE", href).status == 204
    assert http("GET", href).problem == (404, "not-found")
    upload = http.store(os.urandom(10))
    assert http("DELETE", upload["pulp_href"]).status == 204
    assert http("GET", f"{upload['artifact']}download/").status == 200
    assert http("DELETE", upload["artifact"]).status == 204
    assert http("GET", f"{upload['artifact']}download/").problem == (404, "not-found")
    assert http("GET", upload["artifact"]).problem == (404, "not-found")


def test_httpie_as_in_the_story(server: ServerProcess, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "chunkab").write_bytes(data[100_000:])
    httpie = [sys.executable, "-m", "httpie", "--ignore-stdin", "--check-status", "--body"]

    def run(*arguments: str) -> str:
        done = subprocess.run([*httpie, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    href = json.loads(run("POST", f":{server.port}{API}uploads/", f"size={len(data)}"))["pulp_href"]
    url = f":{server.port}{href}"
    run("--form", "PUT", url, "file@./chunkab", f"Content-Range:bytes 100000-299999/{len(data)}")
    with Http(server.port) as http:
        http.put(href, 0, data[:100_000])
    run("PUT", f"{url}commit", f"sha256={sha256(data)}")
    made = json.loads(run("POST", f":{server.port}{API}artifacts/", f"upload={href}"))
    assert made["sha256"] == sha256(data)
