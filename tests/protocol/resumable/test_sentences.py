"""Each sentence of the draft has a test."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.protocol.resumable.sentences import COVERED, SENTENCES


@pytest.fixture(scope="module")
def covered() -> dict[str, set[str]]:
    for path in Path(__file__).parent.glob("test_*.py"):
        if path.stem != Path(__file__).stem:
            importlib.import_module(f"tests.protocol.resumable.{path.stem}")
    importlib.import_module("tests.unit.protocols.resumable.test_fields")
    return COVERED


@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_sentence_has_a_test(covered: dict[str, set[str]], sentence: str) -> None:
    assert covered.get(sentence), f"no test says that it covers: {SENTENCES[sentence]}"
