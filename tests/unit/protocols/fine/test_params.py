"""The parameters of Fine Uploader: those of its client are read back, any others are read or refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from partwise.core.errors import BadRequest
from partwise.core.ranges import MAX_SIZE
from partwise.protocols.fine.params import parse, upload_id

NAMES = ["qquuid", "qqfilename", "qqtotalfilesize", "qqpartindex", "qqpartbyteoffset", "qqchunksize", "qqresume", "x"]

#: Letters of all kinds that matter: digits of other scripts, controls, half of a surrogate pair, separators.
text = st.text("a\xe4/.+-_ \n\0\x7f\u20281\u0663\xb2\xbd\u2167\uff11\ud800\U0001f600", max_size=20)

values = (
    text | st.integers(-5, 2**70).map(str) | st.sampled_from(["0", "1", "10", "true", "1e3", "+1", " 1", "1_0", "NaN"])
)


@given(st.data())
def test_the_parameters_of_a_part_are_read_back(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, MAX_SIZE))
    offset = data.draw(st.integers(0, total - 1))
    size = data.draw(st.integers(1, total - offset))
    members = {
        "qquuid": "u",
        "qqfilename": "Ä",
        "qqtotalfilesize": str(total),
        "qqpartindex": "3",
        "qqpartbyteoffset": str(offset),
        "qqchunksize": str(size),
    }
    params = parse(members)
    assert (params.span.offset, params.span.size, params.total) == (offset, size, total)
    assert (params.uuid, params.filename, params.resumed) == ("u", "Ä", False)


@given(st.dictionaries(st.sampled_from(NAMES), values))
def test_any_parameters_are_read_or_refused(members: dict[str, str]) -> None:
    try:
        params = parse(members)
    except BadRequest:
        return
    assert 0 <= params.span.offset < params.span.end <= params.total <= MAX_SIZE
    assert params.filename is None or "\0" not in params.filename


@given(text, text, text, text)
def test_ids_differ_by_owner_and_by_name(owner: str, name: str, other: str, another: str) -> None:
    owner, other = (each.replace("\ud800", "") for each in (owner, other))
    try:
        first, second = upload_id(owner, name), upload_id(other, another)
    except BadRequest:
        return
    assert (first == second) is ((owner, name) == (other, another))
