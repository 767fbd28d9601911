"""Asks a URL of the settings whether an upload may be created (``engine/creation.py``). Whatever fails, refuses."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from partwise.core.errors import Denied, HookFailed
from partwise.core.ranges import MAX_SIZE
from partwise.engine.context import utc_now
from partwise.engine.creation import HOOK_SECONDS, Allowed, Creation
from partwise.server.outgoing import Answered, PostFailed, SignedPost
from partwise.server.settings import SignedUrl

_logger = logging.getLogger(__name__)

#: The type of the question, beside those of events.
TYPE = "upload.creating"
#: Bytes of an answer.
MOST = 64 << 10
#: Questions of one process at once. Further ones wait, and their waiting counts as time that the answer takes.
AT_ONCE = 16
#: Characters of a sentence.
_LONGEST = 500


class _Answer(BaseModel):
    """The application's answer. A member that is not known may be a limit that was misspelt: it refuses."""

    model_config = ConfigDict(strict=True, extra="forbid")

    allow: bool
    detail: Annotated[str, Field(max_length=_LONGEST)] | None = None
    owner: str | None = None
    filename: str | None = None
    metadata: dict[str, str] | None = None
    largest: Annotated[int, Field(ge=0, le=MAX_SIZE)] | None = None


class PermissionAsker:
    """Asks one URL. ``close`` ends its threads."""

    def __init__(self, target: SignedUrl, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._post = SignedPost(target, name="before-create", threads=AT_ONCE, timeout=HOOK_SECONDS, clock=clock)
        self.close = self._post.close

    async def __call__(self, creation: Creation) -> Allowed:
        """Return what the application allows. Raises Denied, HookFailed."""
        question = f"ask_{uuid.uuid4().hex}"
        try:
            answered = await self._post.send(question, self._question(question, creation), most=MOST)
            answer = _parse(answered)
        except (PostFailed, ValueError) as error:
            _logger.error("the URL before_create did not decide about an upload of %s: %s", creation.user, _line(error))
            raise HookFailed from error
        if not answer.allow:
            raise Denied(answer.detail) if answer.detail and answer.detail.isprintable() else Denied()
        return Allowed(owner=answer.owner, filename=answer.filename, metadata=answer.metadata, largest=answer.largest)

    def _question(self, question: str, creation: Creation) -> bytes:
        data = {
            "user": creation.user,
            "admin": creation.admin,
            "size": creation.size,
            "filename": creation.filename,
            "media_type": creation.media_type,
            "sha256": creation.sha256,
            "metadata": dict(creation.metadata),
            "part": creation.part,
        }
        timestamp = self._clock().isoformat().replace("+00:00", "Z")
        return json.dumps({"id": question, "type": TYPE, "timestamp": timestamp, "data": data}).encode()


def _parse(answered: Answered) -> _Answer:
    if answered.status != 200:
        raise ValueError(f"The endpoint responded with status {answered.status}.")
    kind = answered.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ValueError(f"The Content-Type of the response is {kind or 'missing'}, not application/json.")
    return _Answer.model_validate_json(answered.body)


def _line(error: Exception) -> str:
    """Return what is wrong in one line, without what was sent."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'answer'}: {fault['msg']}" for fault in error.errors())
    return str(error)
