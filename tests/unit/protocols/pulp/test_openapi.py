"""The documents say what is served, are valid, and hold what Pulp's clients look for."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis

from partwise.protocols.pulp.openapi import document
from partwise.protocols.pulp.operations import OPERATIONS, Operation
from partwise.protocols.pulp.routes import routes
from tests.unit.protocols.pulp.support import unserved_api

PREFIX = "/pulp/api/v3/"


def test_the_plain_document_is_valid_openapi() -> None:
    schema = schemathesis.openapi.from_dict(document(PREFIX, pulp_paths=False))
    schema.validate()
    assert len(list(schema.get_all_operations())) == len(OPERATIONS)


@pytest.mark.parametrize("authenticated", [False, True])
def test_pulps_document_is_valid_but_for_the_keys_of_its_paths(authenticated: bool) -> None:
    """OpenAPI wants each to begin with a slash, and Pulp's clients want ``{upload_href}``: nothing else is wrong."""
    pulp = document(PREFIX, pulp_paths=True, authenticated=authenticated)
    assert all(key.startswith(("/", "{")) for key in pulp["paths"])
    pulp["paths"] = {f"/{key.lstrip('/')}": item for key, item in pulp["paths"].items()}
    schema = schemathesis.openapi.from_dict(pulp)
    schema.validate()
    assert len(list(schema.get_all_operations())) == len(OPERATIONS)


def test_a_status_needs_no_credentials_where_all_else_does() -> None:
    described = document(PREFIX, pulp_paths=True, authenticated=True)
    assert {} not in described["security"]
    optional = [
        call["operationId"]
        for item in described["paths"].values()
        for call in item.values()
        if {} in call.get("security", [])
    ]
    assert optional == ["status_read"]


def test_every_route_is_described_and_the_other_way_round() -> None:
    served = {
        (method, route.path)
        for route in routes(unserved_api(PREFIX))
        for method in (route.methods or set()) - {"HEAD"}
        if route.path.endswith("/")
    }
    paths = document(PREFIX, pulp_paths=False)["paths"]
    assert served == {(method.upper(), path) for path, item in paths.items() for method in item}


def test_every_path_is_served_without_its_final_slash_too() -> None:
    paths = {route.path for route in routes(unserved_api(PREFIX))}
    assert {f"{PREFIX}{operation.path}".rstrip("/") for operation in OPERATIONS} <= paths


def test_pulps_keys() -> None:
    pulp = document(PREFIX, pulp_paths=True)
    assert {"{upload_href}", "{upload_href}commit/", "{artifact_href}", "{task_href}"} <= set(pulp["paths"])
    ids = {operation["operationId"] for item in pulp["paths"].values() for operation in item.values()}
    assert {f"uploads_{verb}" for verb in ("list", "create", "read", "update", "delete", "commit")} <= ids
    assert {"artifacts_list", "artifacts_create", "artifacts_read", "tasks_read", "tasks_list", "status_read"} <= ids
    version = pulp["info"]["x-pulp-app-versions"]["core"]
    assert tuple(int(number) for number in version.split(".")) >= (3, 49)
    assert pulp["info"]["x-pulp-domain-enabled"] is False
    assert {"basicAuth": []} in pulp["security"]
    update = pulp["paths"]["{upload_href}"]["put"]
    assert ("Content-Range", "header") in {(item["name"], item["in"]) for item in update["parameters"]}
    assert "201" in pulp["paths"][f"{PREFIX}uploads/"]["post"]["responses"]


@pytest.mark.parametrize(
    "operation", [item for item in OPERATIONS if item.id.endswith("_list")], ids=lambda item: item.id
)
def test_lists_take_fields(operation: Operation) -> None:
    assert "fields" in {parameter.name for parameter in operation.parameters}


def test_both_documents_differ_in_path_keys_alone() -> None:
    plain, pulp = document(PREFIX, pulp_paths=False), document(PREFIX, pulp_paths=True)
    assert plain | {"paths": None} == pulp | {"paths": None}
    described = [_by_id(each) for each in (plain, pulp)]
    assert described[0] == described[1]
    assert set(described[0]) == {operation.id for operation in OPERATIONS}
    for name in described[0]:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name)


def test_a_client_that_puts_hrefs_into_pulps_keys_gets_the_plain_paths() -> None:
    """What pulp-cli does with a path that it was given is what is served there."""
    pulp = document(PREFIX, pulp_paths=True)["paths"]
    for operation in OPERATIONS:
        path = PREFIX + operation.path
        kind, _, name = operation.path.partition("/")
        href = PREFIX + "/".join((kind, name.partition("/")[0])) + "/"
        key = path.replace(href, f"{{{kind.removesuffix('s')}_href}}") if name.startswith("{") else path
        assert pulp[key][operation.method.lower()]["operationId"] == operation.id
        names = [item["name"] for item in pulp[key][operation.method.lower()]["parameters"] if item["in"] == "path"]
        assert names == ([key[1 : key.index("}")]] if key.startswith("{") else [])


def _by_id(described: dict[str, Any]) -> dict[str, Any]:
    """Each call's description by its id, without the parameters of its path."""
    return {
        call["operationId"]: call
        | {"method": method, "parameters": [item for item in call["parameters"] if item["in"] != "path"]}
        for item in described["paths"].values()
        for method, call in item.items()
    }
