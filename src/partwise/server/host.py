"""The server that an application with partwise in it runs in, where that is not our own."""

from __future__ import annotations

import signal


def is_stopping() -> bool:
    """Return whether the host's server has been told to stop. False where it cannot be known.

    ASGI's lifespan tells of a stop only after all requests have ended, and a request that waits for events would hold
    it up. uvicorn, also as a worker of gunicorn, handles SIGTERM by a method of its ``Server``, whose public
    ``should_exit`` it sets there.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True
