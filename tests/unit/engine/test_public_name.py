"""``partwise.Engine`` is for applications that hold uploads of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

import partwise


def test_the_engine_has_a_public_name() -> None:
    from partwise.engine.engine import Engine

    assert partwise.Engine is Engine
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        partwise.Motor  # noqa: B018


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    program = "import sys, partwise; sys.exit('partwise.engine' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
