"""The OpenAPI document, made from the table of calls.

It comes in two forms. ``docs/api.json`` has the path keys that Pulp's clients look for, such as ``{upload_href}``: a
client puts the path it was given there. OpenAPI wants keys that begin with a slash, so ``docs/openapi.json`` says the
same with templates such as ``/pulp/api/v3/uploads/{upload_id}/``, for all other tools.
"""

from __future__ import annotations

import re
from typing import Any

from pydantic.json_schema import models_json_schema

from partwise import __version__
from partwise.http.problems import PROBLEMS, REFUSALS
from partwise.protocols.pulp.models import ProblemOut
from partwise.protocols.pulp.operations import OPERATIONS, Operation, Parameter
from partwise.protocols.pulp.status import PULP_API_VERSION

_HREFS = {
    "uploads/{upload_id}/": "{upload_href}",
    "artifacts/{artifact_id}/": "{artifact_href}",
    "tasks/{task_id}/": "{task_href}",
}
_NAME = re.compile(r"{(\w+)}")


def document(prefix: str, *, pulp_paths: bool, authenticated: bool = False) -> dict[str, Any]:
    """The description of all calls below ``prefix``; with Pulp's path keys or with plain templates.

    ``authenticated``: requests need credentials in their Authorization field.
    """
    schemas = _schemas()
    security: list[dict[str, Any]] = [{"basicAuth": []}, {"bearerAuth": []}]
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        key = _pulp_key(prefix, operation.path) if pulp_paths else prefix + operation.path
        described = paths.setdefault(key, {})[operation.method.lower()] = _describe(operation, key)
        if operation.greets:
            described["security"] = [*security, {}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "partwise",
            "version": __version__,
            "description": "Upload one large file in parallel chunks, in any order; get one verified artifact.",
            "x-pulp-app-versions": {"core": PULP_API_VERSION},
            "x-pulp-domain-enabled": False,
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basicAuth": {"type": "http", "scheme": "basic"},
                "bearerAuth": {"type": "http", "scheme": "bearer"},
            },
        },
        # An empty requirement beside them: credentials are not needed, or are others than these.
        "security": security if authenticated else [*security, {}],
        "servers": [{"url": "/"}],
    }


def _pulp_key(prefix: str, path: str) -> str:
    for template, href in _HREFS.items():
        if path.startswith(template):
            return href + path.removeprefix(template)
    return prefix + path


def _schemas() -> dict[str, Any]:
    models = {model for operation in OPERATIONS for model in operation.responses.values() if model is not None}
    models |= {operation.body for operation in OPERATIONS if operation.body is not None}
    inputs = [(model, "validation") for model in sorted(models | {ProblemOut}, key=lambda model: model.__name__)]
    _, definitions = models_json_schema(inputs, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _describe(operation: Operation, key: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.path.partition("/")[0].capitalize()],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in _NAME.findall(key)
            ),
            *(_parameter(parameter) for parameter in operation.parameters),
        ],
        "responses": {
            **{str(status): _answer(operation, status) for status in operation.responses},
            **{str(status): _problem(status) for status in sorted({*operation.errors, 401, 403, 500, 503})},
        },
    }
    if operation.body is not None:
        described["requestBody"] = _body(operation)
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": parameter.schema}
    if parameter.schema == "integer":
        schema["minimum"] = 0
    if parameter.many:
        schema = {"type": "array", "items": schema}
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
        "required": parameter.required,
        "schema": schema,
    }


def _body(operation: Operation) -> dict[str, Any]:
    assert operation.body is not None
    plain = {"schema": {"$ref": f"#/components/schemas/{operation.body.__name__}"}}
    if operation.json_only:
        return {"content": {"application/json": plain}, "required": True}
    if not operation.file_form:
        kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
        return {"content": dict.fromkeys(kinds, plain)}
    form = operation.body.model_json_schema()
    form["properties"] = {"file": {"type": "string", "format": "binary"}, **form["properties"]}
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if operation.raw:
        form["required"] = ["file"]
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    else:
        content["application/json"] = content["application/x-www-form-urlencoded"] = plain
    return {"content": content}


def _answer(operation: Operation, status: int) -> dict[str, Any]:
    model = operation.responses[status]
    answer: dict[str, Any] = {"description": (model.__doc__ or "").strip() if model else "No content"}
    if model is not None:
        answer["content"] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    if operation.binary and (status == 200 or (model is None and status != 304)):
        text = operation.binary.startswith("text/")
        schema = {"type": "string"} if text else {"type": "string", "format": "binary"}
        answer.setdefault("content", {})[operation.binary] = {"schema": schema}
        if not text:
            answer["description"] = "The bytes"
    return answer


def _problem(status: int) -> dict[str, Any]:
    problems = [*PROBLEMS.values(), *REFUSALS]
    names = ", ".join(dict.fromkeys(problem.name for problem in problems if problem.status == status))
    schema = {"$ref": "#/components/schemas/ProblemOut"}
    return {"description": f"One of: {names}", "content": {"application/problem+json": {"schema": schema}}}
