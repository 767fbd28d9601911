"""Requests as no library would send them, byte by byte: each is refused as documented, and changes nothing."""

from __future__ import annotations

import socket
from http.client import HTTPResponse

import pytest

from tests.support.server import API, Http, ServerProcess

#: What stands for the path of an open upload of 10 bytes.
HREF = "{href}"
BODY = "0123456789"
FORM = "multipart/form-data; boundary=B"


def put(*fields: str, body: str = BODY, length: int | None = None, path: str = HREF) -> str:
    """A PUT with these header fields; its length is right unless told otherwise."""
    size = len(body.encode("latin-1")) if length is None else length
    lines = [f"PUT {path} HTTP/1.1", "Host: localhost", f"Content-Length: {size}", *fields, "", body]
    return "\r\n".join(lines)


def chunked(body: str, coding: str = "chunked") -> str:
    """A PUT in chunked transfer coding, as far as it is."""
    lines = [f"PUT {HREF} HTTP/1.1", "Host: localhost", f"Transfer-Encoding: {coding}", "Content-Range: bytes 0-9/10"]
    return "\r\n".join([*lines, "", body])


def form(*parts: str, end: str = "--B--\r\n") -> str:
    """A form's body of these parts, each with its own header."""
    return "".join(f"--B\r\n{part}\r\n" for part in parts) + end


RANGE = "Content-Range: bytes 0-9/10"
FILE = f'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n{BODY}'

ATTACKS = {
    # numbers
    "range beyond 64 bits": (put("Content-Range: bytes 18446744073709551616-18446744073709551625/*"), {400}),
    "range with a sign": (put("Content-Range: bytes +0-9/10"), {400}),
    "range in other digits": (put("Content-Range: bytes \xd9\xa0-9/10"), {400}),
    "range of another unit": (put("Content-Range: pages 0-9/10"), {400}),
    "range in a list": (put("Content-Range: bytes 0-4/10, bytes 5-9/10"), {400}),
    "range twice": (put(RANGE, RANGE), {400}),
    "range with a NUL": (put("Content-Range: bytes 0-9\0/10"), {400}),
    "range of a megabyte": (put("Content-Range: bytes " + "0" * 60_000 + "-9/10"), {400, 431}),
    # framing
    "two lengths": (put("Content-Length: 11", RANGE), {400}),
    "a negative length": (put(RANGE, length=-1), {400}),
    "a length beyond 64 bits": (put(RANGE, length=2**64), {400}),
    "a length that is no number": (put(RANGE).replace("Content-Length: 10", "Content-Length: ten"), {400}),
    "a length with a sign": (put(RANGE).replace("Content-Length: 10", "Content-Length: +10"), {400}),
    "a list of lengths": (put(RANGE).replace("Content-Length: 10", "Content-Length: 10, 10"), {400}),
    "the same length twice": (put("Content-Length: 10", RANGE), {400}),
    "a length in hex": (put(RANGE).replace("Content-Length: 10", "Content-Length: 0x0a"), {400}),
    "a length in the next line": (put(RANGE).replace("Content-Length: 10", "Content-Length:\r\n 10"), {400}),
    "no length": (put(RANGE).replace("Content-Length: 10", "Content-Length:"), {400}),
    "length and chunked": (put("Transfer-Encoding: chunked", RANGE), {400}),
    "chunked in disguise": (put("Transfer-Encoding: xchunked", RANGE), {400, 501}),
    "compressed and chunked": (chunked("a\r\n0123456789\r\n0\r\n\r\n", "gzip, chunked"), {400}),
    "chunked and then not": (chunked("a\r\n0123456789\r\n0\r\n\r\n", "chunked, identity"), {400}),
    "no coding": (chunked(BODY, "identity"), {400}),
    "a coding behind a vertical tab": (chunked("a\r\n0123456789\r\n0\r\n\r\n", "\x0bchunked"), {400}),
    "a chunk size with a sign": (chunked("-a\r\n0123456789\r\n0\r\n\r\n"), {400}),
    "a chunk size in C": (chunked("0xa\r\n0123456789\r\n0\r\n\r\n"), {400}),
    "a chunk size with a bare LF": (chunked("a\n0123456789\r\n0\r\n\r\n"), {400}),
    "a megabyte of chunk extensions": (chunked(f"a;x={'y' * (1 << 20)}\r\n0123456789\r\n0\r\n\r\n"), {200, 400}),
    "chunked twice": (put("Transfer-Encoding: chunked, chunked", RANGE), {400}),
    "a chunk size beyond 64 bits": (
        f"PUT {HREF} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{RANGE}\r\n\r\n{'f' * 17}\r\n",
        {400},
    ),
    "a chunk that ends wrong": (
        f"PUT {HREF} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{RANGE}\r\n\r\n5\r\n01234XX",
        {400, 408},
    ),
    "gzip": (put("Content-Encoding: gzip", RANGE), {415}),
    "no Host": (put(RANGE).replace("Host: localhost\r\n", ""), {400, 403}),
    "two Hosts": (put("Host: evil.example", RANGE), {400, 403}),
    "a Host with a user": (put(RANGE).replace("Host: localhost", "Host: evil.example@localhost"), {400, 403}),
    "a Host with a fragment": (put(RANGE).replace("Host: localhost", "Host: localhost#evil.example"), {400, 403}),
    "a Host in a list": (put(RANGE).replace("Host: localhost", "Host: localhost, evil.example"), {400, 403}),
    "a Host with a strange port": (put(RANGE).replace("Host: localhost", "Host: localhost:evil"), {400, 403}),
    "every address as Host": (put(RANGE).replace("Host: localhost", "Host: 0.0.0.0"), {403}),
    "two Origins": (put("Origin: http://localhost", "Origin: https://evil.example", RANGE), {400, 403}),
    "no Origin to tell": (put("Origin: null", RANGE), {403}),
    "another Host": (put(RANGE).replace("Host: localhost", "Host: evil.example"), {403}),
    "another Origin": (put("Origin: https://evil.example", RANGE), {403}),
    "a space before the colon": (put("X-A : b", RANGE), {400}),
    "a field that goes on": (put("X-A: b\r\n c", RANGE), {200, 400}),
    "a bare CR": (put("X-A: b\rX-B: c", RANGE), {400}),
    "a NUL in a field": (put("X-A: b\0c", RANGE), {400}),
    "many fields": (put(*(f"X-{n}: y" for n in range(5000)), RANGE), {200, 431}),
    "a field of a megabyte": (put("X-A: " + "y" * (1 << 20), RANGE), {400, 431}),
    "a long path": (f"GET /{'x' * (1 << 20)} HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 414, 431}),
    "no HTTP": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400}),
    "HTTP/2 at once": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 404, 405, 505}),
    "an old protocol": ("GET /livez HTTP/0.9\r\nHost: localhost\r\n\r\n", {200, 400, 505}),
    "a proxy's request": ("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", {400, 403, 404}),
    "CONNECT": ("CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", {400, 403, 404, 405}),
    "an unknown method": (f"SMASH {HREF} HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 405}),
    "TRACE": (f"TRACE {HREF} HTTP/1.1\r\nHost: localhost\r\n\r\n", {400, 405}),
    "an upgrade": (
        f"GET {HREF} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        {200},
    ),
    # paths
    "a path that climbs": ("GET /docs/../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
    "a path that climbs in code": (
        f"GET {API}uploads/..%2f..%2fetc%2fpasswd/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        {404},
    ),
    "a NUL in a path": (f"GET {API}uploads/%00/ HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
    "bytes that are no text": (f"GET {API}uploads/%ff%fe/ HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
    "a line break in a path": (f"GET {API}uploads/%0d%0aX:%20y/ HTTP/1.1\r\nHost: localhost\r\n\r\n", {404}),
    # digests
    "a digest of another length": (put("Content-Digest: sha-256=:YWJj:", RANGE), {400}),
    "a digest that is none": (put("Content-Digest: sha-256=abc", RANGE), {400}),
    "a digest that is wrong": (put(f"Content-Digest: sha-256=:{'A' * 43}=:", RANGE), {400}),
    "two digests": (put(*[f"Content-Digest: sha-256=:{letter * 43}=:" for letter in "AB"], RANGE), {400}),
    "thousands of algorithms": (
        put("Content-Digest: " + ", ".join(f"a{n}=:AA==:" for n in range(5000)), RANGE),
        {200, 431},
    ),
    # forms
    "a form without a boundary": (put("Content-Type: multipart/form-data", RANGE), {400}),
    "a boundary of a kilobyte": (put(f"Content-Type: multipart/form-data; boundary={'B' * 1000}", RANGE), {400}),
    "a form that never begins": (put(f"Content-Type: {FORM}", RANGE, body="x" * 100_000), {400}),
    "a form that never ends": (put(f"Content-Type: {FORM}", RANGE, body=form(FILE, end="")), {400}),
    "a form of nothing": (put(f"Content-Type: {FORM}", RANGE, body="--B--\r\n"), {400}),
    "two files": (put(f"Content-Type: {FORM}", RANGE, body=form(FILE, FILE)), {400}),
    "a thousand parts": (
        put(f"Content-Type: {FORM}", RANGE, body=form(*['Content-Disposition: form-data; name="x"\r\n\r\ny'] * 1000)),
        {400},
    ),
    "a part with a header of a megabyte": (
        put(f"Content-Type: {FORM}", RANGE, body=form(f"X-A: {'y' * (1 << 20)}\r\n{FILE}")),
        {400},
    ),
    "a part with a thousand fields": (
        put(f"Content-Type: {FORM}", RANGE, body=form("X-A: y\r\n" * 1000 + FILE)),
        {400},
    ),
    "a form field of a megabyte": (
        put(
            f"Content-Type: {FORM}",
            RANGE,
            body=form(FILE, 'Content-Disposition: form-data; name="sha256"\r\n\r\n' + "a" * (1 << 20)),
        ),
        {400},
    ),
    "a part in another coding": (
        put(f"Content-Type: {FORM}", RANGE, body=form("Content-Transfer-Encoding: base64\r\n" + FILE)),
        {200, 400},
    ),
    "line breaks without end": (put(f"Content-Type: {FORM}", RANGE, body="\r\n" * 100_000), {400}),
    "dashes without end": (put(f"Content-Type: {FORM}", RANGE, body="--B\r\n" * 50_000), {400}),
}


def first_answer(port: int, request: bytes) -> tuple[int, bytes]:
    """Status and body of the first answer on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        response = HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_request_out_of_bounds(server: ServerProcess, http: Http, name: str) -> None:
    request, expected = ATTACKS[name]
    href = http.create(10)
    status, body = first_answer(server.port, request.replace(HREF, href).encode("latin-1"))
    assert status in expected, body[:500]
    if status == 200:
        return
    shown = http("GET", href).json
    assert (shown["state"], shown["received"], shown["chunks"]) == ("open", 0, [])
    # What was refused left nothing behind that is in the way.
    assert http.put(href, 0, BODY.encode()).status == 200
    assert http.commit(href, BODY.encode()).status == 200


def test_many_ranges_of_a_download_cost_no_more_than_one(http: Http) -> None:
    upload = http.store(b"x" * 1000)
    artifact = http("GET", f"{API}artifacts/?sha256={upload['sha256']}").json["results"][0]["pulp_href"]
    many = "bytes=" + ",".join("0-" for _ in range(5000))
    answer = http("GET", f"{artifact}download/", Range=many)
    assert (answer.status, len(answer.body)) in {(200, 1000), (431, len(answer.body))}
