"""That a test which leaves something open fails, and not another one."""

from __future__ import annotations

import gc
import socket
import subprocess
import sys
import threading

import pytest

from tests.support.leaks import none_left


def test_a_process_that_is_left_running_is_told() -> None:
    process = None
    with pytest.raises(AssertionError, match="processes were left running"), none_left():
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process is not None
    process.communicate()


def test_a_thread_that_is_left_running_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="left")
    monkeypatch.setattr(thread, "join", lambda _seconds: None)
    with pytest.raises(AssertionError, match="left"), none_left():
        thread.start()
    gate.set()
    threading.Thread.join(thread)


def test_a_socket_that_nobody_closed_is_collected_here() -> None:
    def cycle() -> None:
        made: list[object] = [socket.socket()]
        made.append(made)

    def leak() -> None:
        with none_left():
            cycle()

    gc.disable()  # else chance decides where the cycle is collected
    try:
        with pytest.warns(ResourceWarning, match="unclosed <socket"):
            leak()
    finally:
        gc.enable()


def test_what_is_closed_is_no_leak() -> None:
    with none_left():
        socket.socket().close()
        subprocess.run([sys.executable, "-c", ""], check=True)
