from __future__ import annotations

import itertools

import pytest

from partwise.core import errors
from partwise.core.errors import WrongState
from partwise.core.state import TRANSITIONS, Event, UploadState, next_state


@pytest.mark.parametrize("state, event", list(itertools.product(UploadState, Event)))
def test_every_step_is_in_the_table_or_an_error(state: UploadState, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(WrongState) as caught:
            next_state(state, event)
        assert (caught.value.state, caught.value.event) == (state, event)


def test_bytes_change_only_while_an_upload_is_open() -> None:
    assert [state for state in UploadState if (state, Event.WRITE) in TRANSITIONS] == [UploadState.OPEN]


def test_only_what_nobody_is_busy_with_is_deleted() -> None:
    """Deleting an upload that is committing would take the file away under the commit."""
    deleted = {state for state in UploadState if (state, Event.DELETE) in TRANSITIONS}
    assert deleted == set(UploadState) - {UploadState.COMMITTING}


def test_what_is_published_never_opens_again() -> None:
    reached, new = set(), {UploadState.COMPLETED}
    while new:
        reached |= new
        new = {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached
    assert UploadState.OPEN not in reached


def test_the_tree_at_the_top_of_errors_is_the_tree() -> None:
    drawn = [line.split("─ ")[1].split()[0] for line in (errors.__doc__ or "").splitlines() if "─ " in line]

    def walk(cls: type[Exception]) -> list[str]:
        own = [sub for sub in cls.__subclasses__() if sub.__module__ == errors.__name__]
        return [name for sub in own for name in (sub.__name__, *walk(sub))]

    assert drawn == walk(errors.PartwiseError)
