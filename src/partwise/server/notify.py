"""Tells systemd how the service is doing (sd_notify(3)); without systemd, nobody."""

from __future__ import annotations

import logging
import os
import socket

_logger = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send ``state``, such as ``READY=1``, to the socket that NOTIFY_SOCKET names, if it is set."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract one
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.setblocking(False)
            connection.sendto(state.encode(), address)
    except OSError as error:
        _logger.warning("cannot notify systemd of %s: %s", state, error)
