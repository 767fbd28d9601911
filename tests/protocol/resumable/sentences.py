"""What draft-ietf-httpbis-resumable-upload (interop version 8) asks of a server, sentence by sentence in our own words.

``must(...)`` marks a test with the sentences that it would fail without; ``test_sentences.py`` fails when one has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Test = TypeVar("Test", bound=Callable[..., object])

SENTENCES = {
    # 4.1 state
    "offset-form": "Upload-Offset is a non-negative Integer item; a field with another value is ignored",
    "offset-kept": "an offset in an answer acknowledges bytes: none has to be sent again, and it never decreases",
    "complete-form": "Upload-Complete is a Boolean item; a field with another value is ignored",
    "complete-explicit": "an offset that equals the length does not complete the upload: the client says when",
    "complete-closed": "nothing can be appended to a complete upload",
    "complete-meaning": "?1 in an answer: it comes from the resource that the creation targeted; ?0: from the protocol",
    "length-content": "Upload-Complete: ?1 with Content-Length: the length is the offset and that, together",
    "length-form": "Upload-Length is a non-negative Integer item; a field with another value is ignored",
    "length-match": "both ways of telling the length have to agree, in one request and between requests",
    "length-problem": "a contradiction is told by the problem type inconsistent-upload-length",
    # 4.1.4 limits
    "limit-form": "Upload-Limit is a Dictionary; max-size and max-age are Integers",
    "limit-options": "OPTIONS of a resource that supports creation has Upload-Limit",
    "limit-none": "without limits its value is min-size=0",
    "limit-age": "the end of life that max-age tells does not come closer from answer to answer",
    "limit-413": "413 because of a limit has Upload-Limit",
    # 4.2 creation
    "create-methods": "methods with content create uploads, as the resource supports them",
    "create-104": "104 announces the upload resource with Location, and the limits with Upload-Limit",
    "create-whole": "?1 and all content processed: the answer is that of the targeted resource",
    "create-part": "?0 and all content processed: 201 with Location and Upload-Limit",
    "create-length": "the length is recorded",
    "create-progress": "104 with Upload-Offset tells of progress while content comes",
    "create-location": "all answers to one creation have the same Location",
    "create-answer": "the answer tells Upload-Complete",
    "create-cut": "what came of a creation that was cut is appended, and the upload is not complete",
    "create-empty": "a creation may have no content, with either value of Upload-Complete",
    "create-metadata": "Content-Type and Content-Disposition of the creation describe the file",
    "create-unfit": "a representation that the resource does not take is refused with ?1",
    "create-conventional": "without Upload-Complete the same request is a conventional upload",
    # 4.3 retrieval
    "head-offset": "HEAD and GET tell Upload-Offset",
    "head-complete": "they tell Upload-Complete: whether a final response was produced",
    "head-length": "they tell Upload-Length once the client has supplied one",
    "head-limit": "they tell Upload-Limit",
    "head-cache": "they forbid caching: Cache-Control: no-store",
    # 4.4 append
    "append-type": "PATCH with application/partial-upload appends",
    "append-cut": "what came of an append that was cut is appended, and the upload is not complete",
    "append-offset": "another offset than the upload's: 409 with Upload-Complete: ?0 and the right Upload-Offset",
    "append-whole": "?1 and all content processed: the answer of the targeted resource, with ?1",
    "append-part": "?0 and all content processed: 2xx with ?0",
    "append-replay": "the final answer may be given again where an append to a complete upload is valid",
    "append-length": "the length is recorded",
    "append-beyond": "an offset beyond the length is prevented, also without Content-Length: the upload is invalid",
    "append-progress": "104 tells Upload-Offset while content comes, without Location",
    "append-empty": "an append without content completes the upload with ?1",
    # 4.5 cancellation
    "cancel": "DELETE deactivates the upload resource",
    "cancel-running": "and terminates requests to it that are still running",
    # 4.6 concurrency
    "newer": "a newer request ends one that still runs before it is processed",
    "usable": "an offset that was told is accepted in the next append",
    # 5 status code 104
    "104-continue": "104 does not stand for 100 (Continue), which is sent all the same",
    "104-version": "no 104 to a client whose interop version is missing or another",
    "104-versioned": "104 names the interop version",
    # 7 problem types
    "problem-offset": "mismatching-upload-offset has expected-offset and provided-offset",
    # 9 transfer codings
    "transfer": "offsets and lengths count the content without its transfer coding",
    # 10 digests
    "repr-digest": "a file of another digest than Repr-Digest at its creation has failed, and the client is told",
    "want-digest": "the answer of the completion has a Repr-Digest",
    "content-digest": "content of another digest than its Content-Digest is not appended, and the client is told",
    # 13 security
    "authorized": "only who is authorized reaches an upload resource",
    "unguessable": "URIs of upload resources are hard to guess",
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
