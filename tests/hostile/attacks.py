"""Requests that attack the protocols, each made to look nearly right."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.server import API

BODY = b"0123456789"
BOX = "/box/2.0/"
SESSIONS = f"{BOX}files/upload_sessions"
SHA1 = f"sha={base64.b64encode(hashlib.sha1(BODY).digest()).decode()}"

#: What stands for the id of one's own open upload of 10 bytes, and for that of another user's.
MINE, HERS, HER_ARTIFACT, HER_FILE = "{mine}", "{hers}", "{artifact}", "{file}"

#: Header fields of a request with bytes, by protocol.
RANGE = "Content-Range: bytes 0-9/10"
TUS = "Tus-Resumable: 1.0.0"
OFFSET = f"{TUS}\nContent-Type: application/offset+octet-stream"
APPEND = "Upload-Draft-Interop-Version: 8\nContent-Type: application/partial-upload"
FORM = "Content-Type: multipart/form-data; boundary=B"
JSON = "Content-Type: application/json"

REFUSED = frozenset(range(400, 500)) - {401, 499}


@dataclass(frozen=True)
class Attack:
    """One request, and what may be answered."""

    line: str
    fields: str = ""
    body: bytes = BODY
    allowed: frozenset[int] = REFUSED
    #: Whether Content-Length is sent.
    sized: bool = True
    #: The most bytes that are recorded all the same: what came in order is kept by protocols that append.
    kept: int = 0


#: Attacks with their names.
Attacks = Iterator[tuple[str, Attack]]


def part(name: str, value: bytes = BODY, *, filename: str | None = None, fields: str = "") -> bytes:
    """A part of a form."""
    given = "" if filename is None else f'; filename="{filename}"'
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{given}\r\n{fields}\r\n'
    return head.encode("latin-1") + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + b"--B--\r\n"


FILE = part("file", filename="f")
NAMED = part("filename", b"a.bin")


def fine(change: dict[str, str], *parts: bytes, uuid_: str = "mine") -> bytes:
    """A form of Fine Uploader with its first part, changed."""
    fields = {
        "qquuid": uuid_,
        "qqfilename": "a",
        "qqtotalfilesize": "20",
        "qqpartindex": "0",
        "qqpartbyteoffset": "0",
        "qqchunksize": "10",
    } | change
    return form(*(part(name, value.encode()) for name, value in fields.items()), *parts, part("qqfile", filename="f"))


#: What is no number of bytes.
NUMBERS = ["-1", "+5", "1.5", "1e3", "0x10", "NaN", "\u0663", "\uff11", "", " ", "9" * 400, str(2**64), "1_0", "5,5"]


def numbers() -> Attacks:
    """What is no number of bytes, wherever one is wanted."""
    for number in NUMBERS:
        yield (
            f"drf total {number[:9]}",
            Attack("PUT /drf/", f"{FORM}\nContent-Range: bytes 0-9/{number}", form(NAMED, FILE)),
        )
        yield (
            f"drf first {number[:9]}",
            Attack(f"PUT /drf/{MINE}/", f"{FORM}\nContent-Range: bytes {number}-9/10", form(NAMED, FILE)),
        )
        yield (
            f"box part {number[:9]}",
            Attack(f"PUT {SESSIONS}/{MINE}", f"Digest: {SHA1}\nContent-Range: bytes 0-{number}/10"),
        )
        members = json.dumps({"folder_id": "0", "file_name": "a", "file_size": number}).encode()
        yield f"box size {number[:9]}", Attack(f"POST {SESSIONS}", JSON, members)
        yield f"tus offset {number[:9]}", Attack(f"PATCH /tus/{MINE}", f"{OFFSET}\nUpload-Offset: {number}")
        yield f"tus length {number[:9]}", Attack("POST /tus/", f"{TUS}\nUpload-Length: {number}", b"")
        yield (
            f"resumable offset {number[:9]}",
            Attack(f"PATCH /resumable/{MINE}", f"{APPEND}\nUpload-Complete: ?1\nUpload-Offset: {number}"),
        )
        for name in ("qqtotalfilesize", "qqpartbyteoffset", "qqchunksize"):
            yield f"fine {name} {number[:9]}", Attack("POST /fine/", FORM, fine({name: number}))


def repeated() -> Attacks:
    """Fields and parts that may be there once."""
    yield "drf range twice", Attack(f"PUT /drf/{MINE}/", f"{FORM}\n{RANGE}\n{RANGE}", form(NAMED, FILE))
    yield "drf file twice", Attack(f"PUT /drf/{MINE}/", f"{FORM}\n{RANGE}", form(NAMED, FILE, FILE))
    yield "box range twice", Attack(f"PUT {SESSIONS}/{MINE}", f"Digest: {SHA1}\n{RANGE}\n{RANGE}")
    yield "box digests differ", Attack(f"PUT {SESSIONS}/{MINE}", f"Digest: {SHA1}\nDigest: sha={'A' * 27}=\n{RANGE}")
    yield "tus offset twice", Attack(f"PATCH /tus/{MINE}", f"{OFFSET}\nUpload-Offset: 0\nUpload-Offset: 5")
    yield "tus length twice", Attack("POST /tus/", f"{TUS}\nUpload-Length: 10\nUpload-Length: 20", b"")
    yield (
        "tus metadata twice",
        Attack("POST /tus/", f"{TUS}\nUpload-Length: 1\nUpload-Metadata: a YQ==\nUpload-Metadata: a Yg==", b""),
    )
    yield (
        "tus checksum twice",
        Attack(
            f"PATCH /tus/{MINE}",
            f"{OFFSET}\nUpload-Offset: 0\nUpload-Checksum: sha1 {SHA1[4:]}\nUpload-Checksum: sha1 {'A' * 27}=",
        ),
    )
    yield (
        "tus concat twice",
        Attack("POST /tus/", f"{TUS}\nUpload-Length: 1\nUpload-Concat: partial\nUpload-Concat: final;/tus/x", b""),
    )
    yield (
        "tus method twice",
        Attack(f"POST /tus/{MINE}", f"{TUS}\nX-HTTP-Method-Override: PATCH\nX-HTTP-Method-Override: DELETE", b""),
    )
    yield (
        "resumable offset twice",
        Attack(f"PATCH /resumable/{MINE}", f"{APPEND}\nUpload-Complete: ?1\nUpload-Offset: 0\nUpload-Offset: 0"),
    )
    yield (
        "resumable complete twice",
        Attack(f"PATCH /resumable/{MINE}", f"{APPEND}\nUpload-Offset: 0\nUpload-Complete: ?0\nUpload-Complete: ?1"),
    )
    yield "pulp range twice", Attack(f"PUT {API}uploads/{MINE}/", f"{RANGE}\n{RANGE}")


def each_protocol() -> Attacks:
    """The same at the place where each protocol takes bytes: codings, framing, ids, other users' uploads."""
    for name, line, fields, body in (
        ("drf", f"PUT /drf/{MINE}/", f"{FORM}\n{RANGE}", form(NAMED, FILE)),
        ("fine", "POST /fine/", FORM, fine({})),
        ("box", f"PUT {SESSIONS}/{MINE}", f"Digest: {SHA1}\n{RANGE}", BODY),
        ("tus", f"PATCH /tus/{MINE}", f"{OFFSET}\nUpload-Offset: 0", BODY),
        ("resumable", f"PATCH /resumable/{MINE}", f"{APPEND}\nUpload-Complete: ?1\nUpload-Offset: 0", BODY),
        ("pulp", f"PUT {API}uploads/{MINE}/", RANGE, BODY),
    ):
        yield f"{name} coding", Attack(line, f"{fields}\nContent-Encoding: gzip", body)
        yield (
            f"{name} coding behind identity",
            Attack(line, f"{fields}\nContent-Encoding: identity\nContent-Encoding: gzip", body),
        )
        if name != "box":  # its parts have no type
            yield (
                f"{name} type twice",
                Attack(line, f"{fields}\nContent-Type: text/plain\nContent-Type: text/html", body),
            )
        yield f"{name} two lengths", Attack(line, f"{fields}\nContent-Length: 5", body)
        yield f"{name} length and chunked", Attack(line, f"{fields}\nTransfer-Encoding: chunked", body)
        yield (
            f"{name} gzip, chunked",
            Attack(
                line, f"{fields}\nTransfer-Encoding: gzip, chunked", b"a\r\n" + BODY + b"\r\n0\r\n\r\n", sized=False
            ),
        )
        yield (
            f"{name} chunked and short",
            Attack(
                line,
                f"{fields}\nTransfer-Encoding: chunked",
                b"3\r\n012\r\n0\r\n\r\n",
                REFUSED | {204},
                sized=False,
                kept=3,
            ),
        )
        # another one's
        other = line.replace(MINE, HERS)
        if other != line:
            yield f"{name} of another user", Attack(other, fields, body, frozenset({404}))
            for id_ in ("..", "%2e%2e%2f", "%00", "%ff", "x" * 5000, "'", "00000000-0000-0000-0000-00000000000g"):
                yield f"{name} id {id_[:9]}", Attack(line.replace(MINE, id_), fields, body)


def others() -> Attacks:
    """What another user has, by its true id."""
    for line in (
        f"GET /drf/{HERS}/",
        f"POST /drf/{HERS}/",
        f"GET /drf/files/{HER_ARTIFACT}/",
        f"HEAD /drf/files/{HER_ARTIFACT}/",
        f"GET {SESSIONS}/{HERS}",
        f"GET {SESSIONS}/{HERS}/parts",
        f"DELETE {SESSIONS}/{HERS}",
        f"GET {BOX}files/{HER_FILE}",
        f"DELETE {BOX}files/{HER_FILE}",
        f"GET {BOX}files/{HER_FILE}/content",
        f"GET /box/dl/{HER_FILE}",
        f"HEAD /resumable/{HERS}",
        f"DELETE /resumable/{HERS}",
        f"GET /resumable/files/{HER_ARTIFACT}",
        "DELETE /fine/hers",
        f"GET {API}uploads/{HERS}/",
        f"DELETE {API}uploads/{HERS}/",
        f"GET {API}artifacts/{HER_ARTIFACT}/",
        f"GET {API}artifacts/{HER_ARTIFACT}/download/",
    ):
        fields = "Upload-Draft-Interop-Version: 8" if "resumable" in line else JSON
        body = b'{"md5": "0"}' if "POST" in line else b""
        yield f"hers: {line}", Attack(line, fields, body, frozenset({404}))
    yield "hers: box commit", Attack(f"POST {SESSIONS}/{HERS}/commit", f"Digest: {SHA1}", b"{}", frozenset({404}))
    for method in ("HEAD", "DELETE", "GET"):
        yield f"hers: tus {method}", Attack(f"{method} /tus/{HERS}", TUS, b"", frozenset({404}))
        yield (
            f"hers: tus meant {method}",
            Attack(f"POST /tus/{HERS}", f"{TUS}\nX-HTTP-Method-Override: {method}", b"", frozenset({404})),
        )
    yield "hers: tus concat", Attack("POST /tus/", f"{TUS}\nUpload-Concat: final;/tus/{HERS}", b"")
    for method in ("\xff", "TRACE", "CONNECT", "x" * 5000, "", "PATCH, DELETE", "ß"):
        yield f"tus meant {method[:9]}", Attack(f"POST /tus/{MINE}", f"{TUS}\nX-HTTP-Method-Override: {method}", b"")


def bounds() -> Attacks:
    """Bytes beyond the end, behind a gap, of another total, none."""
    for span in ("5-14/15", "0-9/11", "10-19/20", "0-9/9", "9-0/10", "0-0/0", "*/10", "0-9/*", "0-4/10"):
        yield (
            f"drf range {span}",
            Attack(f"PUT /drf/{MINE}/", f"{FORM}\nContent-Range: bytes {span}", form(NAMED, FILE)),
        )
        yield f"box range {span}", Attack(f"PUT {SESSIONS}/{MINE}", f"Digest: {SHA1}\nContent-Range: bytes {span}")
    yield "tus beyond the end", Attack(f"PATCH /tus/{MINE}", f"{OFFSET}\nUpload-Offset: 0", BODY + b"x")
    yield (
        "tus chunked beyond the end",
        Attack(
            f"PATCH /tus/{MINE}",
            f"{OFFSET}\nUpload-Offset: 0\nTransfer-Encoding: chunked",
            b"b\r\n0123456789x\r\n0\r\n\r\n",
            sized=False,
        ),
    )
    yield "tus offset ahead", Attack(f"PATCH /tus/{MINE}", f"{OFFSET}\nUpload-Offset: 5")
    yield "tus another length", Attack(f"PATCH /tus/{MINE}", f"{OFFSET}\nUpload-Offset: 0\nUpload-Length: 11")
    yield (
        "resumable beyond the end",
        Attack(f"PATCH /resumable/{MINE}", f"{APPEND}\nUpload-Complete: ?1\nUpload-Offset: 0", BODY + b"x"),
    )
    yield (
        "resumable another length",
        Attack(f"PATCH /resumable/{MINE}", f"{APPEND}\nUpload-Complete: ?1\nUpload-Length: 11\nUpload-Offset: 0"),
    )
    yield "resumable no end", Attack(f"PATCH /resumable/{MINE}", f"{APPEND}\nUpload-Complete: 1\nUpload-Offset: 0")
    yield "fine beyond the end", Attack("POST /fine/", FORM, fine({"qqpartbyteoffset": "15"}))
    yield "fine empty", Attack("POST /fine/", FORM, fine({"qqtotalfilesize": "0", "qqchunksize": "0"}))
    yield (
        "fine without its part",
        Attack("POST /fine/", FORM, form(part("qquuid", b"mine"), part("qqtotalfilesize", b"10"))),
    )
    yield (
        "fine parameters behind the file",
        Attack(
            "POST /fine/",
            FORM,
            form(part("qqfile", filename="f"), part("qquuid", b"m"), part("qqtotalfilesize", b"10")),
        ),
    )


def names() -> Attacks:
    """Names that clients make up (Fine Uploader)."""
    for name in ("", "\0", "x" * 201, "\r\n", "\u2028", "\ufffd" * 201):
        yield f"fine uuid {name[:9]!r}", Attack("POST /fine/", FORM, fine({"qquuid": name}))
        yield (
            f"fine delete {name[:9]!r}",
            Attack("POST /fine/", JSON, json.dumps({"_method": "DELETE", "qquuid": name}).encode()),
        )
    for name in (".", "..", "hers", "HERS", "hers ", "\udcff", "alice\nhers"):
        yield (
            f"fine delete {name!r}",
            Attack("POST /fine/", JSON, json.dumps({"_method": "DELETE", "qquuid": name}).encode()),
        )
        yield f"fine done {name!r}", Attack("POST /fine/?done", JSON, json.dumps({"qquuid": name}).encode())


def box() -> Attacks:
    """Digests, pages and ids of Box."""
    for digest in (
        "",
        "sha",
        "sha=",
        "sha=abc",
        "md5=AAAA",
        f"sha={'A' * 28}",
        "sha=\xe4",
        "sha==",
        ",,,",
        "sha-256=AAAA",
        f"sha=\n {SHA1}",
    ):
        yield f"box digest {digest!r}", Attack(f"PUT {SESSIONS}/{MINE}", f"Digest: {digest}\n{RANGE}")
        yield f"box commit {digest!r}", Attack(f"POST {SESSIONS}/{MINE}/commit", f"Digest: {digest}", b"{}")
    yield "box commit of nothing", Attack(f"POST {SESSIONS}/{MINE}/commit", f"Digest: {SHA1}", b"{}")
    yield "box commit of 5 MiB", Attack(f"POST {SESSIONS}/{MINE}/commit", f"Digest: {SHA1}", b" " * (5 << 20))
    for number in ("-1", "x", "9" * 40, "1.5", "\u0663", str(2**63)):
        quoted = "".join(f"%{byte:02x}" for byte in number.encode())
        yield f"box offset {number[:9]}", Attack(f"GET {SESSIONS}/{MINE}/parts?offset={quoted}", "", b"")
        yield f"box limit {number[:9]}", Attack(f"GET {BOX}folders/0/items?limit={quoted}", "", b"")
    for id_ in ("-1", "+1", "01", "9" * 39, "9" * 5000, "%D9%A3", "1e3", "..", "%00"):
        yield f"box file {id_[:9]}", Attack(f"GET {BOX}files/{id_}", "", b"")
        yield f"box download {id_[:9]}", Attack(f"GET /box/dl/{id_}", "", b"")
        yield f"box folder {id_[:9]}", Attack(f"GET {BOX}folders/{id_}", "", b"")


def tus() -> Attacks:
    """Header fields of tus."""
    for metadata in (
        "a !!!",
        "\xe4 YQ==",
        "a YQ==,a YQ==",
        ", ,",
        "a  YQ==",
        "a YQ",
        f"{'k' * 10_000} !",
        "a \xe4",
        "a YQ== b",
    ):
        yield (
            f"tus metadata {metadata[:9]!r}",
            Attack("POST /tus/", f"{TUS}\nUpload-Length: 1\nUpload-Metadata: {metadata}", b""),
        )
    for concat in (
        "final",
        "final;",
        "final; /",
        "nonsense",
        "final;http://[",
        "final;/tus/../x",
        "partial;/tus/x",
        f"final;{'/tus/x ' * 1001}",
        "final;\xe4",
        f"final;/tus/{MINE} /tus/{MINE}",
    ):
        yield f"tus concat {concat[:20]!r}", Attack("POST /tus/", f"{TUS}\nUpload-Concat: {concat}", b"")
    for checksum in ("", "sha1", "crc32 AAAA", "sha1 !", "sha1 AAAA", "SHA1 AAAA", "\xe4 \xe4", f"sha1 {'A' * 27}="):
        yield (
            f"tus checksum {checksum!r}",
            Attack(
                f"PATCH /tus/{MINE}", f"{OFFSET}\nUpload-Offset: 0\nUpload-Checksum: {checksum}", BODY, REFUSED | {460}
            ),
        )
    yield "tus length and none", Attack("POST /tus/", f"{TUS}\nUpload-Length: 1\nUpload-Defer-Length: 1", b"")
    yield "tus version", Attack(f"PATCH /tus/{MINE}", OFFSET.replace("1.0.0", "\xb9.0"))


def resumable() -> Attacks:
    """Header fields of resumable uploads."""
    for digest in ("sha-256=abc", "sha-256=:YWJj:", "((", f"sha-256=:{'A' * 43}=:", "sha-256=@1", "\xe4"):
        yield (
            f"resumable digest {digest!r}",
            Attack(
                f"PATCH /resumable/{MINE}", f"{APPEND}\nUpload-Complete: ?1\nUpload-Offset: 0\nContent-Digest: {digest}"
            ),
        )
        yield f"resumable file {digest!r}", Attack("POST /resumable/", f"Repr-Digest: {digest}\nUpload-Complete: ?1")
    yield "resumable lengths differ", Attack("POST /resumable/", "Upload-Complete: ?1\nUpload-Length: 11")


def methods() -> Attacks:
    """Methods that a path does not have."""
    for path in (
        "/drf/",
        f"/drf/{MINE}/",
        "/fine/",
        SESSIONS,
        f"{SESSIONS}/{MINE}",
        "/resumable/",
        f"/resumable/{MINE}",
    ):
        for method in ("PATCH", "TRACE", "DELETE", "BREW"):
            if (method, path) not in (
                ("PATCH", f"/resumable/{MINE}"),
                ("DELETE", f"/resumable/{MINE}"),
                ("DELETE", f"{SESSIONS}/{MINE}"),
            ):
                yield f"method {method} {path}", Attack(f"{method} {path}", "", b"")
