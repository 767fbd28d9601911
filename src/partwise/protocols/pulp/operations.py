"""The table of all calls: ``routes.py`` serves them and ``openapi.py`` describes them, so they cannot drift apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from partwise.core import signature
from partwise.protocols.pulp import (
    artifacts,
    download,
    event_stream,
    events,
    releases,
    signatures,
    status,
    tasks,
    tickets,
    uploads,
)
from partwise.protocols.pulp import models as m
from partwise.protocols.pulp.api import Api

Handler = Callable[[Api, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or header field that a call reads. ``schema`` is its JSON schema."""

    name: str
    description: str
    schema: str = "string"
    where: str = "query"
    required: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call.

    ``path`` is a template below the prefix; ``responses`` gives what each good answer holds (None: nothing, or bytes).
    """

    id: str
    method: str
    path: str
    handler: Handler
    responses: dict[int, type[BaseModel] | None]
    body: type[BaseModel] | None = None
    #: The body is a file's bytes: ``file`` of a form, beside the members of ``body``.
    file_form: bool = False
    #: The body may also be the bytes alone.
    raw: bool = False
    #: The body is JSON, and no form.
    json_only: bool = False
    #: The answer is bytes, of this media type; where it is not the only one, the model of the same status is another.
    binary: str | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    #: Who has no credentials is answered too, with less.
    greets: bool = False

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]


FIELDS = (
    Parameter("fields", "Names of the members to answer with; all others are left out", many=True),
    Parameter("exclude_fields", "Names of the members to leave out", many=True),
)
PAGE = (
    Parameter("offset", "How many items to skip", schema="integer"),
    Parameter("after", "Where the page before ended, as `next` has it; with its `offset`"),
    Parameter("limit", "The most items to answer with, at most 1000 (100 if not given)", schema="integer"),
    *FIELDS,
)
SEARCH = Parameter("search", "Part of the file name")
DIGEST = Parameter("Content-Digest", "SHA-256 of the file's bytes in this body (RFC 9530)", where="header")
PREFER = Parameter("Prefer", "'partial=keep': keep what came of a raw body that is cut (RFC 7240)", where="header")

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="uploads_create",
        method="POST",
        path="uploads/",
        handler=uploads.create,
        body=m.UploadCreate,
        responses={201: m.UploadCreated},
        parameters=FIELDS,
        errors=(400, 413, 415, 507),
    ),
    Operation(
        id="uploads_list",
        method="GET",
        path="uploads/",
        handler=uploads.index,
        responses={200: m.UploadPage},
        parameters=(*PAGE, SEARCH, Parameter("state", "Only uploads in this state", many=True)),
        errors=(400,),
    ),
    Operation(
        id="uploads_read",
        method="GET",
        path="uploads/{upload_id}/",
        handler=uploads.show,
        responses={200: m.UploadDetail},
        parameters=(
            *FIELDS,
            Parameter("digests", "The SHA-256 of each chunk: 'true' as read again now, 'recorded' as far as known"),
            Parameter("at", "With digests=true: only the chunks that begin here", schema="integer", many=True),
        ),
        errors=(400, 404),
    ),
    Operation(
        id="uploads_update",
        method="PUT",
        path="uploads/{upload_id}/",
        handler=uploads.update,
        body=m.ChunkForm,
        file_form=True,
        raw=True,
        responses={200: m.UploadOut},
        parameters=(
            Parameter("Content-Range", "bytes FIRST-LAST/TOTAL, where TOTAL may be *", where="header", required=True),
            DIGEST,
            PREFER,
            *FIELDS,
        ),
        errors=(400, 404, 408, 409, 413, 415, 507),
    ),
    Operation(
        id="uploads_delete",
        method="DELETE",
        path="uploads/{upload_id}/",
        handler=uploads.delete,
        responses={204: None},
        errors=(404, 409),
    ),
    Operation(
        id="uploads_commit",
        method="POST",
        path="uploads/{upload_id}/commit/",
        handler=uploads.commit_task,
        body=m.UploadCommit,
        responses={202: m.TaskHref},
        errors=(400, 404, 409, 415),
    ),
    Operation(
        id="uploads_commit_now",
        method="PUT",
        path="uploads/{upload_id}/commit/",
        handler=uploads.commit_now,
        body=m.UploadCommit,
        responses={200: m.UploadOut, 202: m.TaskHref},
        parameters=FIELDS,
        errors=(400, 404, 409, 415),
    ),
    Operation(
        id="uploads_copy",
        method="POST",
        path="uploads/{upload_id}/copy/",
        handler=uploads.copy,
        body=m.CopiesWanted,
        json_only=True,
        responses={200: m.CopiesOut},
        parameters=FIELDS,
        errors=(400, 404, 409, 413, 415, 507),
    ),
    Operation(
        id="uploads_ticket",
        method="POST",
        path="uploads/{upload_id}/ticket/",
        handler=tickets.create,
        responses={201: m.TicketOut},
        errors=(404,),
    ),
    Operation(
        id="uploads_revoke_tickets",
        method="DELETE",
        path="uploads/{upload_id}/ticket/",
        handler=tickets.revoke,
        responses={204: None},
        errors=(404,),
    ),
    Operation(
        id="artifacts_create",
        method="POST",
        path="artifacts/",
        handler=artifacts.create,
        body=m.ArtifactForm,
        file_form=True,
        responses={201: m.ArtifactOut},
        parameters=(DIGEST, *FIELDS),
        errors=(400, 404, 408, 409, 411, 413, 415, 507),
    ),
    Operation(
        id="artifacts_list",
        method="GET",
        path="artifacts/",
        handler=artifacts.index,
        responses={200: m.ArtifactPage},
        parameters=(
            *PAGE,
            SEARCH,
            Parameter("sha256", "Only the artifact with this SHA-256"),
            Parameter("filename", "Only artifacts with exactly this name"),
        ),
        errors=(400,),
    ),
    Operation(
        id="artifacts_read",
        method="GET",
        path="artifacts/{artifact_id}/",
        handler=artifacts.show,
        responses={200: m.ArtifactOut},
        parameters=FIELDS,
        errors=(404,),
    ),
    Operation(
        id="artifacts_delete",
        method="DELETE",
        path="artifacts/{artifact_id}/",
        handler=artifacts.delete,
        responses={204: None},
        errors=(404,),
    ),
    Operation(
        id="artifacts_release",
        method="POST",
        path="artifacts/{artifact_id}/release/",
        handler=releases.create,
        body=m.ArtifactRelease,
        responses={200: m.ReleaseOut},
        errors=(400, 404, 409, 415),
    ),
    Operation(
        id="artifacts_download",
        method="GET",
        path="artifacts/{artifact_id}/download/",
        handler=download.download,
        binary="*/*",
        responses={200: None, 206: None, 304: None},
        parameters=(
            Parameter("Range", "One range of bytes; several are ignored", where="header"),
            Parameter("If-Range", "The ETag that the range belongs to", where="header"),
            Parameter("If-None-Match", "ETags that need not be sent again", where="header"),
            Parameter("If-Match", "ETags of which the artifact must have one", where="header"),
        ),
        errors=(404, 412, 416),
    ),
    Operation(
        id="artifacts_signature",
        method="GET",
        path="artifacts/{artifact_id}/signature/",
        handler=signatures.show,
        binary=signature.MEDIA_TYPE,
        responses={200: m.SignatureOut, 202: m.SignatureWaiting},
        parameters=(
            Parameter("outline", "true: the outline of the signature, if it has at most 2 MiB", schema="boolean"),
            Parameter("pieces", "Only these pieces, as the binary form has them: 0-9,20-29"),
            Parameter("Accept", "application/json asks for JSON in place of the binary form", where="header"),
        ),
        errors=(400, 404, 409, 507),
    ),
    Operation(
        id="tasks_list",
        method="GET",
        path="tasks/",
        handler=tasks.index,
        responses={200: m.TaskPage},
        parameters=(
            *PAGE,
            Parameter("state", "Only tasks in this state", many=True),
            Parameter("state__in", "Only tasks in one of these states, as Pulp names it", many=True),
            Parameter("reserved_resources__in", "Only commits of these uploads, by their paths", many=True),
            Parameter("exclusive_resources__in", "The same: a commit has its upload for itself", many=True),
            Parameter("shared_resources__in", "Read by Pulp's clients; tasks share nothing here", many=True),
        ),
        errors=(400,),
    ),
    Operation(
        id="tasks_read",
        method="GET",
        path="tasks/{task_id}/",
        handler=tasks.show,
        responses={200: m.TaskOut},
        parameters=FIELDS,
        errors=(404,),
    ),
    Operation(
        id="tasks_cancel",
        method="PATCH",
        path="tasks/{task_id}/",
        handler=tasks.cancel,
        body=m.TaskCancel,
        responses={200: m.TaskOut},
        errors=(400, 404, 409, 415),
    ),
    Operation(
        id="events_list",
        method="GET",
        path="events/",
        handler=events.index,
        responses={200: m.EventPage},
        parameters=(
            Parameter("after", "The cursor of the page or event before; 'now': only what happens from now on"),
            Parameter("types", "Only events of this type", many=True),
            Parameter("limit", "The most events to answer with, at most 1000 (100 if not given)", schema="integer"),
            Parameter("wait", "Seconds to wait for an event, at most 55 (0 if not given)", schema="integer"),
            Parameter("Last-Event-ID", "In place of `after`, for a stream that goes on", where="header"),
            *FIELDS,
        ),
        binary=event_stream.MEDIA_TYPE,
        errors=(400, 410, 429),
    ),
    Operation(
        id="status_read",
        method="GET",
        path="status/",
        handler=status.show,
        responses={200: m.StatusOut},
        parameters=FIELDS,
        # As Pulp's: its clients look there, without a password, whether the server runs and what it is.
        greets=True,
    ),
)
