"""Interop versions of the drafts, and what a server does differently for each.

A client of a draft names its version in ``Upload-Draft-Interop-Version``. A server tells no client of another version
of an upload resource by 104, so that clients of the RFC never meet servers of a draft.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The field that names the version.
FIELD = "Upload-Draft-Interop-Version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Requirements of one draft version."""

    #: Its interop version; None: the client names none, or one that is not known here. It gets no 104.
    number: int | None
    #: The field that tells whether an upload is complete, and whether its value is the opposite.
    completeness: str = "Upload-Complete"
    inverted: bool = False
    #: What an append without that field means; None: such a request is refused.
    unsaid: bool | None = None
    #: Whether reaching the stated length completes the upload, too. tus-js-client (4.3.1) ends so with some streams: it
    #: never says that the upload is complete, and reports success.
    by_length: bool = False
    #: Whether 104 tells of progress.
    progress: bool = True
    #: The status of an append that does not complete the upload.
    appended: int = 204
    #: Whether appends need the media type ``application/partial-upload``.
    typed: bool = True
    #: The key in Upload-Limit of the seconds that the upload resource lives on; None: the version has no limits.
    lifetime: str | None = "max-age"
    #: Whether retrieval and cancellation with fields of an append are refused (400).
    strict: bool = False

    def complete(self, value: bool) -> dict[str, str]:
        """Return the field that tells whether the upload is complete."""
        return {self.completeness: "?1" if value is not self.inverted else "?0"}


#: Draft -09 and later, and clients that name no version.
CURRENT = Version(number=None)

#: By interop version. The comments name the drafts.
VERSIONS = {
    # -01: Apple's URLSession since iOS 17 and macOS 14
    3: Version(
        number=3,
        completeness="Upload-Incomplete",
        inverted=True,
        unsaid=True,
        progress=False,
        appended=201,
        typed=False,
        lifetime=None,
        strict=True,
    ),
    # -02
    4: Version(number=4, unsaid=False, progress=False, appended=201, typed=False, lifetime=None, strict=True),
    # -03: tus-js-client's "ietf-draft-03"
    5: Version(number=5, unsaid=False, by_length=True, appended=201, typed=False, lifetime=None, strict=True),
    # -04 and -05: tus-js-client's "ietf-draft-05"
    6: Version(number=6, unsaid=False, by_length=True, appended=201, lifetime="expires", strict=True),
    # -06 to -08
    7: Version(number=7),
    # -09 and later
    8: Version(number=8),
}
