"""The names that ``partwise`` itself has, for applications and for scripts."""

from __future__ import annotations

import subprocess
import sys

import pytest

import partwise


def test_the_public_names() -> None:
    from partwise.client import AsyncClient, Client, ClientError
    from partwise.engine.engine import Engine

    assert (partwise.Engine, partwise.Client) == (Engine, Client)
    assert (partwise.AsyncClient, partwise.ClientError) == (AsyncClient, ClientError)
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        partwise.Motor  # noqa: B018


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    program = "import sys, partwise; sys.exit('partwise.engine' in sys.modules or 'partwise.client' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_the_client_loads_nothing_of_the_server() -> None:
    loaded = "[name for name in sys.modules if name in ('sqlalchemy', 'starlette', 'uvicorn', 'partwise.engine')]"
    program = f"import sys; from partwise import Client; sys.exit(' '.join({loaded}) or None)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
