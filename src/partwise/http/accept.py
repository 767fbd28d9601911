"""Content negotiation by the Accept field (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from urllib.request import parse_http_list

from multipart import parse_options_header  # type: ignore[import-untyped]
from starlette.requests import Request

#: A weight (RFC 9110, section 12.4.2).
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)


def asks_for(request: Request, media_type: str, *, rather_than: str) -> bool:
    """Return whether the client names ``media_type``, and does not prefer ``rather_than``, which is sent otherwise.

    A wildcard names nothing. It counts only as the weight of ``rather_than``.
    """
    weights = _weights(request)
    wanted = weights.get(media_type, 0.0)
    return wanted > 0 and wanted >= _weight(weights, rather_than)


def _weight(weights: dict[str, float], media_type: str) -> float:
    """The weight of the most specific range that has ``media_type``."""
    kind = media_type.partition("/")[0]
    return next((weights[one] for one in (media_type, f"{kind}/*", "*/*") if one in weights), 0.0)


def _weights(request: Request) -> dict[str, float]:
    """Weights by media range, in lower case. Other parameters do not count. Elements with a bad weight are left out."""
    found: dict[str, float] = {}
    for element in parse_http_list(",".join(request.headers.getlist("accept"))):
        media_range, parameters = parse_options_header(element)
        weight = parameters.get("q", "1")
        if _WEIGHT.fullmatch(weight):
            found[media_range] = max(found.get(media_range, 0.0), float(weight))
    return found
