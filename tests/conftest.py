"""What tests of several layers share: real engines, started once, and only when a test asks for one.

Whoever asks for ``engines`` runs twice: on local files, and on PostgreSQL and an object store, where every server that
the test starts keeps its records and bytes. ``@pytest.mark.files_only(reason)`` skips the second;
``@pytest.mark.more_engines`` leaves it to runs with ``--all-engines``, as it takes long: a server of its own, say.
"""

from __future__ import annotations

import gc
import signal
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from partwise.catalog import migrate
from tests.engines.postgres import Postgres, postgres
from tests.engines.seaweed import CREDENTIALS, Seaweed, seaweed
from tests.support.aws import share_descriptions
from tests.support.folders import service_folder
from tests.support.leaks import collected, none_left
from tests.support.server import ServerProcess

#: Makes the settings of a server: where its records and its bytes are. Empty: in its data folder.
Engines = Callable[[], dict[str, str]]


_ENGINES = pytest.StashKey[Engines]()

share_descriptions()

# How long an example takes says how busy the machine is: it fails no test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A shell's job in the background ignores SIGINT, and so would every program that a test starts and then interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Only who asks for ``engines`` has them: once set up they are there until the session turns to the other kind."""
    asked = isinstance(item, pytest.Function) and "engines" in item.fixturenames
    ServerProcess.engines = staticmethod(item.config.stash.get(_ENGINES, dict) if asked else dict)


def _parameters(item: pytest.Item) -> list[object]:
    callspec = getattr(item, "callspec", None)
    return list(callspec.params.values()) if callspec else []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-engines", action="store_true", help="run all that can on PostgreSQL and an object store")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = []
    for item in items:
        if "objects" not in _parameters(item):
            continue
        if mark := item.get_closest_marker("files_only"):
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))
        elif item.get_closest_marker("more_engines") and not config.getoption("--all-engines"):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Spare the collector of cycles all modules and tests, which stay to the end: it took a quarter of the CPU time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_open_by_fixtures() -> Iterator[None]:
    """The same for the fixtures of a module: its last test is told."""
    with collected():
        yield


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """A socket, file, thread or process that a test leaves open fails that test."""
    with none_left():
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on the last lines how many tests were skipped, why, and what to install to run them."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple))
    if reasons:
        terminalreporter.write_line(f"{sum(reasons.values())} tests were skipped:")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"  {count}: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def object_engines(postgres_server: Postgres, postgres_template: str, seaweed_server: Seaweed) -> Iterator[Engines]:
    """Makes an empty catalog in PostgreSQL and an empty place in an object store, at each call."""

    def new() -> dict[str, str]:
        return {
            "catalog": postgres_server.url(postgres_server.create(postgres_template)),
            "storage": seaweed_server.url(f"tests/{uuid.uuid4().hex}"),
        }

    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield new


@pytest.fixture(scope="session", params=["files", pytest.param("objects", marks=pytest.mark.engines)])
def engines(request: pytest.FixtureRequest) -> Iterator[Engines]:
    """Gives every server that the test makes engines of its own, of the one kind and then of the other."""
    new: Engines = dict if request.param == "files" else request.getfixturevalue("object_engines")
    request.config.stash[_ENGINES] = new
    ServerProcess.engines = staticmethod(new)
    yield new
    del request.config.stash[_ENGINES]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres(service_folder("pg-")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Postgres) -> str:
    """The name of a database with the newest schema, to copy."""
    name = postgres_server.create()
    migrate(postgres_server.url(name))
    return name


@pytest.fixture
def postgres_url(postgres_server: Postgres, postgres_template: str) -> Iterator[str]:
    """The URL of an empty catalog."""
    name = postgres_server.create(postgres_template)
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def seaweed_server() -> Iterator[Seaweed]:
    with seaweed(service_folder("weed-")) as server:
        yield server


@pytest.fixture
def s3_url(seaweed_server: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty storage, with what it takes to use it in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return seaweed_server.url(f"tests/{uuid.uuid4().hex}")
