from __future__ import annotations

import pytest

from tests.support.server import Http
from tests.support.tus import Tus


@pytest.fixture
def tus(http: Http) -> Tus:
    """tus over a connection to the server of the session."""
    return Tus(http)
