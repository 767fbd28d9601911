"""The audit trail: one log line for each state change, with all that says who did what to which file.

Lines go to the logger ``partwise.audit``. Whoever serves requests adds the request's id, the client's address, the
user and the name of the token; jobs that a request began keep them.
"""

from __future__ import annotations

import logging

from partwise.core.records import Artifact, Upload

#: The name of the logger.
AUDIT = "partwise.audit"

_logger = logging.getLogger(AUDIT)


def record(action: str, **fields: object) -> None:
    """Write a line about ``action``, such as ``upload.created``. Fields without a value are left out."""
    known = {name: value for name, value in fields.items() if value is not None}
    _logger.info("audit", extra={"action": action, **known})


def record_upload(action: str, upload: Upload, **fields: object) -> None:
    """Write a line about an upload. One that exists for a single request is left out: its artifact tells of it."""
    if not upload.internal:
        about = {"upload": upload.id, "owner": upload.owner, "file": upload.filename, "size": upload.size}
        record(action, **about, **fields)


def record_artifact(action: str, artifact: Artifact, **fields: object) -> None:
    """Write a line about an artifact."""
    about = {"artifact": artifact.id, "owner": artifact.owner, "sha256": artifact.sha256}
    record(action, **about, file=artifact.filename, size=artifact.size, **fields)
