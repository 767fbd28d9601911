"""Bodies that attack the protocols: forms and JSON."""

from __future__ import annotations

from tests.hostile.attacks import (
    BOX,
    FILE,
    FORM,
    JSON,
    MINE,
    NAMED,
    RANGE,
    REFUSED,
    SESSIONS,
    Attack,
    Attacks,
    form,
    part,
)
from tests.support.server import API


def forms() -> Attacks:
    """Forms that are none, or are too much."""
    bombs = {
        "no boundary": ("Content-Type: multipart/form-data", form(NAMED, FILE)),
        "an empty boundary": ('Content-Type: multipart/form-data; boundary=""', form(NAMED, FILE)),
        "a boundary of Latin-1": ("Content-Type: multipart/form-data; boundary=\xe4", form(NAMED, FILE)),
        "100,000 parts": (FORM, form(*[part("x", b"")] * 100_000)),
        "a head of a megabyte": (FORM, form(part("file", filename="f", fields=f"X-A: {'y' * (1 << 20)}\r\n"))),
        "a name of a megabyte": (FORM, form(part("n" * (1 << 20)), FILE)),
        "a field of a megabyte": (FORM, form(part("filename", b"x" * (1 << 20)), FILE)),
        "a form in a form": (
            FORM,
            form(
                part("file", b"--C\r\n" + FILE + b"--C--", fields="Content-Type: multipart/mixed; boundary=C\r\n"), FILE
            ),
        ),
        "a part without a name": (FORM, b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n"),
        "a part without a head": (FORM, b"--B\r\n\r\nx\r\n--B--\r\n"),
        "a field that is no UTF-8": (FORM, form(part("filename", b"\xff\xfe"), FILE)),
        "a preamble only": (FORM, b"x" * (2 << 20)),
        "no form": (FORM, b""),
        "an end at once": (FORM, b"--B--\r\n"),
        "a charset that is none": (f"{FORM}; charset=nonsense", b"--B--\r\n"),
        "a part that lies about its length": (FORM, form(part("file", filename="f", fields="Content-Length: 3\r\n"))),
        "a part whose length is none": (FORM, form(part("file", filename="f", fields="Content-Length: \xb2\r\n"))),
    }
    for name, (kind, body) in bombs.items():
        yield f"drf {name}", Attack(f"PUT /drf/{MINE}/", f"{kind}\n{RANGE}", body)
        yield f"drf whole {name}", Attack("POST /drf/", kind, body)
        yield f"drf first {name}", Attack("PUT /drf/", f"{kind}\n{RANGE}", body)
        yield f"fine {name}", Attack("POST /fine/", kind, body.replace(b'name="file"', b'name="qqfile"'))
        yield f"box {name}", Attack(f"POST {BOX}files/content", kind, body)
        yield f"pulp {name}", Attack(f"PUT {API}uploads/{MINE}/", f"{kind}\n{RANGE}", body)
        yield f"pulp file {name}", Attack(f"POST {API}artifacts/", kind, body)
        yield f"drf complete {name}", Attack(f"POST /drf/{MINE}/", kind, body)
        yield f"box small {name}", Attack(f"POST {SESSIONS}", kind, body)


def json_texts() -> Attacks:
    """JSON that is none, is too deep, or has other types."""
    texts = {
        "depth": b"[" * 10_000,
        "depth of objects": b'{"a":' * 10_000,
        "deep member": b'{"file_size": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        "NaN": b'{"file_size": NaN, "file_name": "a", "folder_id": "0", "md5": NaN, "size": NaN}',
        "Infinity": b'{"file_size": Infinity, "file_name": "a", "folder_id": 0, "size": -Infinity, "md5": Infinity}',
        "large float": b'{"file_size": 1e400, "file_name": "a", "folder_id": 0, "size": 1e400}',
        "large number": b'{"file_size": '
        + b"9" * 5000
        + b', "file_name": "a", "folder_id": 0, "size": '
        + b"9" * 5000
        + b"}",
        "a list": b"[1]",
        "null": b"null",
        "surrogate": (
            b'{"file_size": 1, "file_name": "\\ud800", "folder_id": 0, "md5": "\\ud800", "size": 1, '
            b'"filename": "\\ud800"}'
        ),
        "no text": b"\xff\xfe\x00",
        "true": b'{"file_size": true, "file_name": true, "folder_id": false, "md5": true, "size": true}',
        "twice": (
            b'{"file_size": 5, "file_size": -5, "file_name": "a", "folder_id": "0", "md5": "a", "md5": [], '
            b'"size": 5, "size": -5}'
        ),
        "lists": b'{"file_size": [5], "file_name": ["a"], "folder_id": ["0"], "md5": ["a"], "size": [5]}',
        "a NUL": (
            b'{"file_size": 5, "file_name": "a\\u0000", "folder_id": "0", "md5": "\\u0000", "size": 5, '
            b'"filename": "\\u0000"}'
        ),
        "another folder": b'{"file_size": 5, "file_name": "a", "folder_id": "1", "size": "x"}',
    }
    for name, text in texts.items():
        yield f"box JSON {name}", Attack(f"POST {SESSIONS}", JSON, text)
        yield f"box question {name}", Attack(f"OPTIONS {BOX}files/content", JSON, text)
        yield f"box token {name}", Attack("POST /box/oauth2/token", JSON, text, REFUSED | {401})
        yield f"drf JSON {name}", Attack(f"POST /drf/{MINE}/", JSON, text)
        yield f"fine JSON {name}", Attack("POST /fine/", JSON, text)
        yield f"pulp JSON {name}", Attack(f"POST {API}uploads/", JSON, text)
        attributes = form(part("attributes", text[:8000]), FILE)
        yield f"box attributes {name}", Attack(f"POST {BOX}files/content", FORM, attributes)
