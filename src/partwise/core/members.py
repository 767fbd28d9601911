"""Rules of what a client or an application says of an upload: the names of its user and file, and its metadata."""

from __future__ import annotations

from collections.abc import Mapping

from partwise.core.errors import BadBody

#: Characters of the longest names.
MAX_USER, MAX_FILENAME = 100, 1024
#: Members of metadata, and characters of the longest name and text.
MAX_MEMBERS, MAX_MEMBER_NAME, MAX_MEMBER_TEXT = 32, 64, 1024


def check_user(value: str | None) -> str | None:
    """Return the name of a user. BadBody."""
    if value is not None and (not value.strip() or not value.isprintable() or len(value) > MAX_USER):
        raise BadBody(f"The user name is not valid. Use 1 to {MAX_USER} printable characters.", field="user")
    return value


def check_filename(value: str | None) -> str | None:
    """Return the name of a file, None for an empty one. BadBody."""
    if value and "\0" in value:
        raise BadBody("The file name contains a NUL character. Remove it.", field="filename")
    return value or None


def check_metadata(value: Mapping[str, str]) -> Mapping[str, str]:
    """Return the metadata. BadBody."""
    if len(value) > MAX_MEMBERS or any(
        not 1 <= len(name) <= MAX_MEMBER_NAME or len(text) > MAX_MEMBER_TEXT for name, text in value.items()
    ):
        raise BadBody(
            f"Metadata is too large. Send at most {MAX_MEMBERS} members, "
            f"with names of at most {MAX_MEMBER_NAME} and texts of at most {MAX_MEMBER_TEXT} characters.",
            field="metadata",
        )
    if any("\0" in name + text for name, text in value.items()):
        raise BadBody("Metadata contains a NUL character. Remove it.", field="metadata")
    return value
