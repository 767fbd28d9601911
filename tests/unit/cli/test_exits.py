from __future__ import annotations

import pytest

from partwise.cli.exits import MEANINGS, Exit, exit_code
from partwise.client import CannotReachServer, ClientError, FileChanged, VerificationFailed
from partwise.client.errors import answer_error


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Exit)


@pytest.mark.parametrize(
    "error,code",
    [
        (ClientError("x"), 1),
        (answer_error(400, "", b""), 1),
        (answer_error(409, "", b""), 1),
        (answer_error(500, "", b""), 1),
        (FileNotFoundError(2, "x"), 2),
        (CannotReachServer("x"), 3),
        (answer_error(503, "", b""), 3),
        (VerificationFailed("x"), 4),
        (FileChanged("x"), 4),
        (answer_error(413, "", b""), 5),
        (answer_error(507, "", b""), 5),
        (answer_error(401, "", b""), 6),
        (answer_error(404, "", b""), 7),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_have_their_codes(error: BaseException, code: int) -> None:
    assert exit_code(error) == code
