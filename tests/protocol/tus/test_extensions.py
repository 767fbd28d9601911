"""The extensions of tus 1.0.0, one after another. ``must`` names the sentences of the protocol that a test covers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.conftest import Engines
from tests.protocol.tus.sentences import must
from tests.support.server import API, Http, ServerProcess
from tests.support.tus import BYTES, ROOT, Tus, checksum, metadata, repr_digest, tus_fields


@pytest.fixture
def limited(tmp_path: Path, engines: Engines) -> Iterator[Tus]:
    """A server with limits of its own."""
    with (
        ServerProcess(tmp_path, max_upload_size=1000, quota=2000, idle_expiry_days=3) as server,
        Http(server.port) as http,
    ):
        yield Tus(http)


# creation


@must("creation-answer")
def test_creation_answers_with_the_uploads_place(tus: Tus) -> None:
    """Creation: the server MUST acknowledge with 201 and set Location."""
    answer = tus("POST", ROOT, Upload_Length="5")
    assert answer.status == 201
    assert answer.headers["Location"].startswith(ROOT)
    assert "Upload-Offset" not in answer.headers
    assert tus.offset(answer.headers["Location"]) == 0


@must("creation-empty")
def test_an_empty_upload_is_complete_at_once(tus: Tus) -> None:
    """Creation: an Upload-Length of 0 is complete without a PATCH."""
    assert tus.head(tus.create(0)).headers["Repr-Digest"] == repr_digest(b"")


@pytest.mark.parametrize("length", ["-1", "1.5", "1e3", "²", "a", "", "99999999999999999999"])
@must("upload-length")
def test_a_length_is_a_whole_number(tus: Tus, length: str) -> None:
    """Upload-Length: MUST be a non-negative integer."""
    assert tus("POST", ROOT, Upload_Length=length).status == 400


@must("creation-length")
def test_a_length_is_needed_once(tus: Tus) -> None:
    """Creation: either Upload-Length or Upload-Defer-Length: 1, not both."""
    assert tus("POST", ROOT).status == 400
    assert tus("POST", ROOT, Upload_Length="1", Upload_Defer_Length="1").status == 400


@must("metadata-back", "metadata-empty")
def test_metadata_come_back_as_they_went(tus: Tus) -> None:
    """Upload-Metadata: HEAD MUST give it back as the client said it; keys without a value may be there."""
    sent = f"{metadata(filename='große datei.iso', filetype='application/x-iso9660-image')},is_confidential"
    path = tus.create(3, Upload_Metadata=sent)
    assert tus.head(path).headers["Upload-Metadata"] == sent
    shown = tus.http("GET", f"{API}uploads/{path.removeprefix(ROOT)}/").json
    assert (shown["filename"], shown["media_type"]) == ("große datei.iso", "application/x-iso9660-image")
    assert "Upload-Metadata" not in tus.head(tus.create(3)).headers
    for empty in ("a,b", "a ,b ", "a  , b"):
        assert tus.head(tus.create(3, Upload_Metadata=empty)).headers["Upload-Metadata"] == empty


def test_metadata_that_are_no_file_name_harm_nobody(tus: Tus) -> None:
    sent = metadata(filename="a\0b", name="\n<b>.txt", filetype='x"; evil', type="text/html\r\nX: y")
    path = tus.create(3, Upload_Metadata=sent)
    shown = tus.http("GET", f"{API}uploads/{path.removeprefix(ROOT)}/").json
    assert (shown["filename"], shown["media_type"]) == ("\n<b>.txt", None)


@pytest.mark.parametrize("value", ["key YQ==,key YQ==", "key %%%", ",", "a YQ==,,b YQ==", "a YQ==  YQ==", "ä YQ=="])
@must("metadata-form")
def test_metadata_have_a_form(tus: Tus, value: str) -> None:
    """Upload-Metadata: comma-separated pairs; keys MUST be unique, ASCII and not empty; values MUST be base64."""
    answer = tus("POST", ROOT, Upload_Length="1", Upload_Metadata=value)
    assert answer.problem == (400, "bad-request")
    assert answer.json["field"] == "Upload-Metadata"


@must("creation-too-large", "tus-max-size")
def test_too_large_an_upload_is_refused(limited: Tus) -> None:
    """Creation: above Tus-Max-Size the server MUST answer 413."""
    assert limited.http("OPTIONS", ROOT).headers["Tus-Max-Size"] == "1000"
    assert limited("POST", ROOT, Upload_Length="1001").status == 413
    assert limited("POST", ROOT, Upload_Length="1000").status == 201


# creation-with-upload


@must("with-upload-offset")
def test_the_first_bytes_come_with_the_creation(tus: Tus) -> None:
    """Creation With Upload: the server MUST tell Upload-Offset in the 201."""
    answer = tus("POST", ROOT, b"abc", Upload_Length="5", Content_Type=BYTES)
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, "3")
    assert tus.patch(answer.headers["Location"], 3, b"de").status == 204
    assert tus.artifact(b"abcde") == b"abcde"


def test_all_bytes_come_with_the_creation(tus: Tus) -> None:
    data = os.urandom(200_000)
    answer = tus("POST", ROOT, data, Upload_Length=str(len(data)), Content_Type=BYTES)
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, "200000")
    assert tus.head(answer.headers["Location"]).headers["Repr-Digest"] == repr_digest(data)


@must("with-upload-offset")
def test_no_bytes_may_come_with_the_creation(tus: Tus) -> None:
    """The media type says that bytes are meant to come: then the offset is told, also where none did."""
    answer = tus("POST", ROOT, b"", Upload_Length="5", Content_Type=BYTES)
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, "0")


@must("with-upload-type", "with-upload-rules")
def test_a_creation_whose_bytes_are_refused_leaves_nothing(tus: Tus) -> None:
    """Creation With Upload: the rules of PATCH hold for the bytes. No client knows the place of what was refused."""
    before = tus.http.uploads()
    assert tus("POST", ROOT, b"abc", Upload_Length="5", Content_Type="text/plain").status == 415
    assert tus("POST", ROOT, b"abcdef", Upload_Length="5", Content_Type=BYTES).status == 413
    wrong = {"Upload_Checksum": checksum("sha1", b"other"), "Content_Type": BYTES}
    assert tus("POST", ROOT, b"abc", Upload_Length="5", **wrong).status == 460
    assert not tus.http.uploads(100) - before


# creation-defer-length


@must("defer-head", "defer-fixed")
def test_the_length_is_said_later(tus: Tus) -> None:
    """Upload-Defer-Length: HEAD MUST tell it, and not Upload-Length, until the length is known; then the reverse."""
    path = tus.create(None)
    assert tus.patch(path, 0, b"abc").status == 204
    head = tus.head(path)
    assert head.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in head.headers
    assert tus.patch(path, 3, b"de", Upload_Length="7").status == 204
    head = tus.head(path)
    assert head.headers["Upload-Length"] == "7"
    assert "Upload-Defer-Length" not in head.headers
    assert tus.patch(path, 5, b"fg").status == 204
    assert tus.artifact(b"abcdefg") == b"abcdefg"


def test_the_length_may_come_without_bytes(tus: Tus) -> None:
    data = os.urandom(100_000)
    path = tus.create(None)
    tus.patch(path, 0, data)
    assert tus.patch(path, len(data), b"", Upload_Length=str(len(data))).status == 204
    assert tus.artifact(data) == data


@must("defer-fixed")
def test_a_length_once_said_does_not_change(tus: Tus) -> None:
    """Creation Defer Length: once set, the length MUST NOT be changed; nor can it be less than what has come."""
    path = tus.create(None)
    assert tus.patch(path, 0, b"abc").status == 204
    assert tus.patch(path, 3, b"", Upload_Length="2").status == 409
    assert tus.patch(path, 3, b"defg", Upload_Length="6").status == 413  # what was refused says no length
    assert tus.patch(path, 3, b"", Upload_Length="9").status == 204
    assert tus.patch(path, 3, b"", Upload_Length="8").status == 400
    assert tus.patch(path, 3, b"", Upload_Length="9").status == 204
    assert tus.patch(path, 3, b"defghi").status == 204
    assert tus.artifact(b"abcdefghi") == b"abcdefghi"


@pytest.mark.parametrize("value", ["0", "2", "true", ""])
@must("defer-value")
def test_the_only_value_of_defer_length_is_one(tus: Tus, value: str) -> None:
    """Upload-Defer-Length: any other value than 1 MUST be answered with 400."""
    assert tus("POST", ROOT, Upload_Defer_Length=value).status == 400


def test_a_deferred_upload_streams_without_any_length(tus: Tus, server: ServerProcess) -> None:
    """Neither the file's nor the request's length is known: chunks of the transfer coding."""
    data = os.urandom(3_000_000)
    path = tus.create(None)
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (data[:1], data[1:2_000_000], data[2_000_000:]))
    headers = {"Upload_Offset": "0", "Content_Type": BYTES, "Transfer_Encoding": "chunked"}
    assert tus("PATCH", path, coded + b"0\r\n\r\n", **headers).headers["Upload-Offset"] == "3000000"
    assert tus.patch(path, len(data), b"", Upload_Length=str(len(data))).status == 204
    assert tus.artifact(data) == data


def test_limits_hold_for_deferred_lengths_too(limited: Tus) -> None:
    path = limited.create(None)
    assert limited.patch(path, 0, bytes(1001)).status == 413
    assert limited.patch(path, 0, b"", Upload_Length="1001").status == 413
    assert limited.patch(path, 0, bytes(1000)).status == 204
    assert limited.patch(path, 1000, b"", Upload_Length="1000").status == 204  # one artifact of 1000 bytes
    second = limited.create(None)
    assert limited.patch(second, 0, bytes(600)).status == 204
    third = limited.create(None)
    assert limited.patch(third, 0, bytes(500)).problem == (413, "quota-exceeded")
    assert limited.patch(third, 0, bytes(400)).status == 204


# checksum


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5"])
@must("checksum-sha1")
def test_a_checksum_that_matches(tus: Tus, algorithm: str) -> None:
    """Checksum: the server MUST support sha1 and SHOULD verify what Upload-Checksum says of the request's body."""
    data = os.urandom(300_000)
    path = tus.create(len(data))
    for start, stop in ((0, 100), (100, len(data))):
        piece = data[start:stop]
        assert tus.patch(path, start, piece, Upload_Checksum=checksum(algorithm, piece)).status == 204
    assert tus.artifact(data) == data


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5"])
@must("checksum-mismatch")
def test_a_checksum_that_does_not_match(tus: Tus, algorithm: str) -> None:
    """Checksum: on a mismatch 460 (Checksum Mismatch), and the bytes MUST be discarded."""
    path = tus.create(10)
    tus.patch(path, 0, b"ab")
    answer = tus.patch(path, 2, b"cdef", Upload_Checksum=checksum(algorithm, b"CDEF"))
    assert answer.problem == (460, "checksum-mismatch")
    assert tus.offset(path) == 2
    assert tus.patch(path, 2, b"cdefghij", Upload_Checksum=checksum(algorithm, b"cdefghij")).status == 204
    assert tus.artifact(b"abcdefghij") == b"abcdefghij"


@pytest.mark.parametrize(
    "value", ["crc32 AAAA", "SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "sha1", "sha1 %%", "sha1 YWJj", "", "sha1:abc"]
)
@must("checksum-unknown")
def test_algorithms_that_are_not_supported(tus: Tus, value: str) -> None:
    """Checksum: an algorithm that is not supported is answered with 400."""
    path = tus.create(10)
    assert tus.patch(path, 0, b"abc", Upload_Checksum=value).status == 400
    assert tus.offset(path) == 0


@must("checksum-told", "checksum-names")
def test_the_algorithms_are_told(tus: Tus) -> None:
    """Tus-Checksum-Algorithm: MUST be in the answer to OPTIONS; sha1 MUST be among them."""
    assert tus.http("OPTIONS", ROOT).headers["Tus-Checksum-Algorithm"] == "sha1,sha256,sha512,md5"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_cut_body_with_a_checksum_is_discarded(tus: Tus, server: ServerProcess, algorithm: str) -> None:
    """Checksum: only what is verified is kept, and a part cannot be."""
    data = os.urandom(2_000_000)
    path = tus.create(len(data))
    head = (
        f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: {BYTES}"
        f"\r\nUpload-Checksum: {checksum(algorithm, data)}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(head.encode() + data[:1_500_000])
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    assert tus.offset(path) == 0


# expiration


@must("expires-form", "expires-patch", "expires-creation")
def test_an_unfinished_upload_tells_when_it_expires(limited: Tus) -> None:
    """Expiration: Upload-Expires MUST be in every answer to PATCH if the upload is going to expire, as an HTTP date;
    in that to POST when it is known then."""
    created = limited("POST", ROOT, Upload_Length="10")
    patched = limited.patch(created.headers["Location"], 0, b"abc")
    for answer in (created, patched, limited.head(created.headers["Location"])):
        expires = parsedate_to_datetime(answer.headers["Upload-Expires"])
        assert answer.headers["Upload-Expires"].endswith(" GMT")
        assert abs(expires - datetime.now(UTC) - timedelta(days=3)) < timedelta(minutes=1)


@must("expired")
@pytest.mark.more_engines
@pytest.mark.usefixtures("engines")
def test_an_expired_upload_is_gone(tmp_path: Path) -> None:
    """Expiration: 404 or 410 for an upload that has expired."""
    with ServerProcess(tmp_path, idle_expiry_days=0.00001) as server, Http(server.port) as http:
        tus = Tus(http)
        path = tus.create(10)
        answers = iter(lambda: tus.patch(path, 0, b"").status, 404)
        assert set(answers) <= {204, 409}  # 409 while it goes; and then it is gone


# termination


@must("terminated", "terminated-gone")
def test_termination(tus: Tus) -> None:
    """Termination: 204; requests on it afterwards are answered with 404 or 410."""
    path = tus.create(10)
    tus.patch(path, 0, b"abc")
    answer = tus("DELETE", path)
    assert (answer.status, answer.body) == (204, b"")
    assert tus.head(path).status == 404
    assert tus.patch(path, 3, b"d").status == 404
    assert tus("DELETE", path).status == 404


def test_termination_leaves_the_artifact(tus: Tus) -> None:
    """The upload goes; what it has become belongs to its owner, who deletes it over REST."""
    data = os.urandom(1000)
    path = tus.create(len(data))
    tus.patch(path, 0, data)
    assert tus("DELETE", path).status == 204
    assert tus.head(path).status == 404
    assert tus.artifact(data) == data


# what every answer holds


def test_answers_hold_no_field_too_many(tus: Tus) -> None:
    path = tus.create(10)
    assert set(tus_fields(tus.patch(path, 0, b"abc"))) == {"tus-resumable", "upload-offset", "upload-expires"}
    assert set(tus_fields(tus.head(path))) == {"tus-resumable", "upload-offset", "upload-length", "upload-expires"}
