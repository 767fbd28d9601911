"""Every error has its problem, and every problem is explained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from partwise.core import errors
from partwise.core.ranges import ByteRange
from partwise.http.problems import PROBLEMS, REFUSALS, errors_page, problem_of, render_any, render_error

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"
CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.PartwiseError) and value.__module__ == errors.__name__
]
ALL = [*PROBLEMS.values(), *REFUSALS]


def content(response: Any) -> dict[str, Any]:
    return dict(json.loads(response.body))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_class_of_the_tree_is_mapped(cls: type[errors.PartwiseError]) -> None:
    assert cls in PROBLEMS


def test_names_are_unique() -> None:
    assert len({problem.name for problem in ALL}) == len(ALL)


@pytest.mark.parametrize("problem", ALL, ids=lambda problem: problem.name)
def test_every_problem_is_documented(problem: Any) -> None:
    section = re.search(rf"^### {problem.name}\n+(\d+)", PAGE.read_text(), re.MULTILINE)
    assert section is not None
    assert int(section[1]) == problem.status
    assert f'id="{problem.name}"' in errors_page()


def test_a_class_without_its_own_problem_is_what_its_base_is() -> None:
    class Special(errors.ChunkOverlap):
        pass

    assert problem_of(Special([], 0)) is PROBLEMS[errors.ChunkOverlap]


def test_lists_of_ranges_are_capped() -> None:
    gaps = [ByteRange(2 * number, 1) for number in range(500)]
    body = content(render_error(errors.IncompleteUpload(gaps, 500)))
    assert (len(body["missing"]), body["count"]) == (100, 500)
    assert body["missing"][1] == {"offset": 2, "size": 1}
    assert body["type"] == "/docs/errors#incomplete-upload"


def test_pulps_keys_stand_beside_the_problem() -> None:
    body = content(render_error(errors.BadSize("No size.")))
    assert (body["size"], body["field"], body["detail"], body["status"]) == (["No size."], "size", "No size.", 400)
    body = content(render_error(errors.BadContentRange("No range.")))
    assert (body["non_field_errors"], body["field"]) == (["No range."], "Content-Range")


def test_retry_after() -> None:
    assert render_error(errors.RangeBusy(ByteRange(0, 1))).headers["Retry-After"] == "1"
    assert "Retry-After" not in render_error(errors.Superseded()).headers
    assert render_error(errors.StorageFailed("no")).headers["Retry-After"] == "2"
    assert "Retry-After" not in render_error(errors.BytesLost("no")).headers


def test_unexpected_errors_keep_their_details_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    request = Request({"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""})
    response = render_any(request, RuntimeError("secret"))
    assert response.status_code == 500
    assert b"secret" not in response.body
    assert "secret" in caplog.text
    assert response.media_type == "application/problem+json"


def test_what_http_refuses_is_a_problem_too() -> None:
    request = Request({"type": "http", "method": "GET", "path": "/x", "headers": [], "query_string": b""})
    response = render_any(request, HTTPException(405, headers={"Allow": "GET"}))
    assert (response.status_code, response.headers["Allow"]) == (405, "GET")
    assert content(response)["type"] == "/docs/errors#method-not-allowed"


def test_logs_have_paths_as_they_came(caplog: pytest.LogCaptureFixture) -> None:
    """Decoded, a path could hold what a terminal takes for commands."""
    scope = {"type": "http", "method": "GET", "path": "/\x1b[2J\n", "raw_path": b"/%1b[2J%0a", "headers": []}
    for error in (errors.StorageFailed("no"), ValueError("no")):
        render_any(Request(scope), error)
    assert "GET /%1b[2J%0a" in caplog.text
    assert "\x1b" not in caplog.text
