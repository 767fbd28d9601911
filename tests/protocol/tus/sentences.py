"""What tus 1.0.0 asks of a server, sentence by sentence in our own words, and which test covers each.

``must(...)`` marks a test with the sentences that it would fail without; ``test_sentences.py`` fails when one has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])

SENTENCES = {
    # the core protocol
    "upload-offset": "Upload-Offset is a non-negative integer",
    "upload-length": "Upload-Length is a non-negative integer",
    "tus-version": "Tus-Version lists the versions that the server supports",
    "tus-resumable": "every answer but that to OPTIONS has Tus-Resumable",
    "tus-resumable-other": "another version than the server's: 412 with Tus-Version, and the request is not processed",
    "tus-extension": "Tus-Extension lists the extensions, separated by commas",
    "tus-max-size": "Tus-Max-Size, where there is a limit, is a non-negative integer of bytes",
    "method-override": "X-HTTP-Method-Override is the request's method; the actual one is ignored",
    "head-offset": "HEAD tells Upload-Offset always, also 0 and of a complete upload",
    "head-length": "HEAD tells Upload-Length where the size is known",
    "head-cache": "HEAD forbids caching: Cache-Control: no-store",
    "head-absent": "HEAD of what is not there: 404, 410 or 403, without Upload-Offset",
    "patch-type": "PATCH of another media type than application/offset+octet-stream: 415",
    "patch-offset": "PATCH at another offset than the upload's: 409, and nothing changes",
    "patch-answer": "PATCH is confirmed by 204 with Upload-Offset: the offset before, and the bytes received",
    "patch-absent": "PATCH of what is not there: 404",
    "patch-kept": "what came of a request that broke is stored as far as possible",
    "options": "OPTIONS: 204 or 200 with Tus-Version; a Tus-Resumable in it is ignored",
    # creation
    "creation-listed": "creation is among the extensions",
    "creation-length": "a creation has either Upload-Length or Upload-Defer-Length: 1",
    "creation-answer": "a creation is answered with 201 and the upload's URL in Location",
    "creation-empty": "an upload of 0 bytes is complete at once",
    "creation-too-large": "a length above Tus-Max-Size: 413",
    "metadata-form": "Upload-Metadata: pairs of a key and base64, keys unique, not empty, without spaces and commas",
    "metadata-empty": "a value in Upload-Metadata may be empty, and the space before it left out",
    "metadata-back": "HEAD gives Upload-Metadata back as the client said it",
    # creation-defer-length
    "defer-value": "any other value of Upload-Defer-Length than 1: 400",
    "defer-head": "HEAD tells Upload-Defer-Length: 1 until the length is known",
    "defer-fixed": "the length comes with a PATCH; once set it does not change",
    # creation-with-upload
    "with-upload-listed": "creation-with-upload is among the extensions",
    "with-upload-type": "bytes in a creation have the media type of PATCH",
    "with-upload-offset": "a creation with bytes is answered with Upload-Offset",
    "with-upload-rules": "the rules of PATCH hold for bytes in a creation, checksums too",
    # expiration
    "expires-form": "Upload-Expires is a date as HTTP writes it",
    "expires-patch": "the answer to PATCH has Upload-Expires where the upload is going to expire",
    "expires-creation": "so has that to the creation, where it is known then",
    "expired": "an upload that has expired: 404 or 410",
    # checksum
    "checksum-told": "Tus-Checksum-Algorithm in the answer to OPTIONS lists the algorithms, separated by commas",
    "checksum-names": "names of algorithms are ASCII without capital letters",
    "checksum-sha1": "sha1 is supported",
    "checksum-mismatch": "bytes of another checksum: 460, they are dropped and the offset stays",
    "checksum-unknown": "an algorithm that is not supported: 400",
    # termination
    "terminated": "DELETE is answered with 204",
    "terminated-gone": "later requests for a terminated upload: 404 or 410",
    # concatenation
    "concat-listed": "concatenation is among the extensions, concatenation-unfinished only where it is offered",
    "concat-form": "Upload-Concat is partial, or final; with the URLs of the parts, absolute or as paths",
    "concat-unprocessed": "partial uploads are not processed before they have become a final one",
    "concat-sum": "the final upload's length is the sum of the parts', in the order given",
    "concat-no-length": "a final upload's creation has no Upload-Length",
    "concat-metadata": "the parts' metadata do not pass on to the final upload",
    "concat-again": "a part may be used several times",
    "concat-no-patch": "PATCH of a final upload: 403, and neither it nor its parts change",
    "concat-head": "HEAD of partial and final uploads gives Upload-Concat back as it was in the creation",
    "concat-head-partial": "HEAD of a partial upload tells Upload-Offset",
    "concat-head-before": "HEAD of a final upload tells no Upload-Offset before its bytes are joined",
    "concat-head-after": "afterwards Upload-Offset and Upload-Length are there and equal",
    "concat-head-length": "HEAD of a final upload tells Upload-Length as soon as it can be known",
}

#: The names of the tests of each sentence.
COVERED: dict[str, set[str]] = {}


def must(*sentences: str) -> Callable[[Test], Test]:
    """Mark a test with the sentences that it covers."""

    def mark(test: Test) -> Test:
        for sentence in sentences:
            assert sentence in SENTENCES, sentence
            COVERED.setdefault(sentence, set()).add(test.__name__)
        return test

    return mark
