"""Reading requests: header fields and small bodies. What is wrong becomes an error of the tree, or a refusal."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from partwise.core.content_range import ContentRange, parse_content_range
from partwise.core.digests import parse_digest_field, parse_sha512_field
from partwise.core.errors import BadBody, BadContentRange, BadRequest
from partwise.http.dialect import Site
from partwise.http.forms import SmallForm, is_form, parse_small_form, parse_urlencoded
from partwise.http.problems import BAD_ENCODING, UNSUPPORTED_TYPE, Refusal

M = TypeVar("M", bound=BaseModel)

#: The longest body that is read into memory, in bytes.
MAX_SMALL_BODY = 64 * 1024


def content_length(request: Request) -> int | None:
    """The body's size in bytes as announced, or None when it comes in chunks of its own."""
    value = request.headers.get("content-length")
    if value is None:
        return None if "transfer-encoding" in request.headers else 0
    return int(value)  # the HTTP parser has refused all but one decimal number


def single(request: Request, name: str) -> str | None:
    """The value of a field that is no list, or None where there is no such field.

    Raises BadRequest when it is repeated (RFC 9110, section 5.3): a proxy could act on another one of them.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise BadRequest(f"{name} is repeated. Send it once.", field=name)
    return values[0] if values else None


def content_type(request: Request) -> str:
    """The Content-Type, or an empty string. Raises BadRequest when it is repeated."""
    return single(request, "Content-Type") or ""


def content_range(request: Request) -> ContentRange:
    """The Content-Range, which must be there once. Raises BadContentRange."""
    values = request.headers.getlist("content-range")
    if not values:
        raise BadContentRange("Content-Range is missing. Send 'Content-Range: bytes FIRST-LAST/TOTAL'.")
    if len(values) > 1:
        raise BadContentRange("Content-Range is repeated. Send it once.")
    return parse_content_range(values[0])


def content_digest(request: Request) -> str | None:
    """The SHA-256 of the Content-Digest field in hex, or None. Raises BadDigest."""
    values = request.headers.getlist("content-digest")
    return parse_digest_field(", ".join(values)) if values else None


def content_sha512(request: Request) -> bytes | None:
    """The SHA-512 of the Content-Digest field, or None. Raises BadDigest."""
    values = request.headers.getlist("content-digest")
    return parse_sha512_field(", ".join(values)) if values else None


def refuse_encoding(request: Request) -> None:
    """Bytes are stored as they come: a compressed body would be stored compressed, so it is refused (415, 400)."""
    transfer = request.headers.getlist("transfer-encoding")
    if transfer and ", ".join(transfer).strip().lower() != "chunked":
        raise Refusal(BAD_ENCODING)
    codings = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    if any(coding.strip() not in ("", "identity") for coding in codings):
        detail = "Content-Encoding is not supported, because bytes are stored unchanged. Send them without it."
        raise Refusal(UNSUPPORTED_TYPE, detail, {"Accept-Encoding": "identity"})


async def read_small(site: Site, request: Request) -> bytes:
    """The whole body. Raises BadBody when it is longer than MAX_SMALL_BODY."""
    refuse_encoding(request)
    if (content_length(request) or 0) > MAX_SMALL_BODY:
        raise BadBody(f"The body exceeds {MAX_SMALL_BODY} bytes, the limit of this call.")
    content = bytearray()

    def take(block: memoryview) -> None:
        content.extend(block)
        if len(content) > MAX_SMALL_BODY:
            raise BadBody(f"The body exceeds {MAX_SMALL_BODY} bytes, the limit of this call.")

    if content_length(request) != 0:
        await site.body_of(request).drain(take)
    return bytes(content)


async def read_model(site: Site, request: Request, model: type[M]) -> M:
    """The body as ``model``, from JSON, a urlencoded form or a multipart form. Raises an error of the tree."""
    return parse_model(model, parse_members(request, await read_small(site, request)))


async def read_list(site: Site, request: Request, model: type[M]) -> M:
    """The body, a JSON array, as ``model``. Raises an error of the tree."""
    content = await read_small(site, request)
    try:
        items = from_json(content)
    except ValueError as error:
        raise BadBody("The body cannot be read as JSON. Correct its syntax.") from error
    if not isinstance(items, list):
        raise BadBody("The body is not a JSON array. Send an array.")
    return parse_model(model, items)


def parse_members(request: Request, content: bytes) -> dict[str, object]:
    """The members of a small body, by its Content-Type; none when it is empty. Raises BadBody."""
    if not content:
        return {}
    kind = content_type(request)
    if is_form(kind):
        return form_members(parse_small_form(kind, content))
    if kind.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        return dict(parse_urlencoded(content))
    try:
        members = from_json(content)
    except ValueError as error:
        raise BadBody("The body cannot be read as JSON. Correct its syntax.") from error
    if not isinstance(members, dict):
        raise BadBody("The body is not a JSON object. Send an object.")
    return members


def form_members(form: SmallForm) -> dict[str, object]:
    """The fields of a form as members."""
    return dict(form.fields)


def parse_model(model: type[M], members: dict[str, object] | list[object]) -> M:
    """Members, or items, as ``model``.

    Raises BadBody that names the first member at fault, or what the model's own check raises.
    """
    try:
        return model.model_validate(members)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        missing = first["type"] == "missing"
        message = "This field is required." if missing else f"{field}: {first['msg']}."
        raise BadBody(message, field=field) from error
