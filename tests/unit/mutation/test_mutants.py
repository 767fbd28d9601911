"""The mutants that `make mutation` tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.__main__ import MODULES, ROOT
from tests.mutation.mutants import mutants


def test_each_changes_one_place() -> None:
    source = "def f(a, b):\n    if a < b and b is not None:\n        g(a)\n    return a + 1\n"
    found = {(mutant.line, mutant.change) for mutant in mutants(source)}
    assert found == {
        (2, "if a < b and b is not None:  ->  if not (a < b and b is not None):"),
        (2, "a < b and b is not None  ->  a < b or b is not None"),
        (2, "a < b  ->  a <= b"),
        (2, "b is not None  ->  b is None"),
        (3, "g(a)  ->  None"),
        (4, "a + 1  ->  a - 1"),
    }
    assert all(mutant.source != source for mutant in mutants(source))


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_their_tests_exist(name: str) -> None:
    source = (ROOT / "src/partwise" / name).read_text()
    assert next(iter(mutants(source))).source != source
    assert all(Path(ROOT / path).exists() for path in MODULES[name])
