"""Several processes with a catalog of their own each, on one database, that begin at the same moment."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.synchronize import Barrier

from partwise.catalog import migrate, open_catalog
from partwise.core.errors import PartwiseError
from partwise.engine.ports import Catalog, OwnerLimits
from tests.contract.catalog.support import NOW, SHA_A, later, make_task, make_upload, record
from tests.support.leaks import KEPT

PROCESSES = 4
#: What one process did: how often each outcome came, by its name.
Outcomes = Counter[str]
Work = Callable[[Catalog, int], Awaitable[Outcomes]]

_barrier: Barrier | None = None


def run(work: Work, url: str) -> list[Outcomes]:
    """Run ``work`` in each process, given its number; what each of them counted."""
    return _in_processes(_work, work, url)


def migrate_at_once(url: str) -> None:
    """Migrate in each process."""
    _in_processes(_migrate, None, url)


def _in_processes(function: Callable[..., Outcomes], work: Work | None, url: str) -> list[Outcomes]:
    before = set(threading.enumerate())
    try:
        # Each of them waits at the barrier, so that none takes the work of two.
        futures = [_pool().submit(function, work, url, number) for number in range(PROCESSES)]
        return [future.result(timeout=90) for future in futures]
    except BaseException:
        _pool().shutdown(wait=False, cancel_futures=True)  # its barrier may be broken
        _pool.cache_clear()
        raise
    finally:
        KEPT.update(child.pid for child in multiprocessing.active_children() if child.pid is not None)
        KEPT.add(resource_tracker._resource_tracker._pid)  # type: ignore[attr-defined]
        KEPT.update(set(threading.enumerate()) - before)


@cache
def _pool() -> ProcessPoolExecutor:
    """The same processes for all tests: to start Python and import everything takes longer than a test."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=_initialize, initargs=(context.Barrier(PROCESSES),)
    )


def _initialize(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _migrate(work: None, url: str, number: int) -> Outcomes:
    assert _barrier is not None
    _barrier.wait(30)
    migrate(url)
    return Counter()


def _work(work: Work, url: str, number: int) -> Outcomes:
    return asyncio.run(_open_and_work(work, url, number))


async def _open_and_work(work: Work, url: str, number: int) -> Outcomes:
    catalog = open_catalog(url)
    await catalog.start()
    try:
        assert _barrier is not None
        _barrier.wait(30)
        return await work(catalog, number)
    finally:
        await catalog.stop()


async def _outcomes(calls: list[Awaitable[object]]) -> Outcomes:
    """Make all calls at once. Only errors that the port names are outcomes."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, PartwiseError):
            raise result
    return Counter(type(result).__name__ if isinstance(result, PartwiseError) else "done" for result in results)


_RUNS = [range(start, start + 10) for start in range(0, 250, 10)]


async def record_own(catalog: Catalog, number: int) -> Outcomes:
    """250 chunks of u1 that no other process records."""
    # A few at once: who waits half a minute for a connection is told to try again, and a busy machine takes that long.
    outcomes = [await _outcomes([record(catalog, index * PROCESSES + number, 1) for index in some]) for some in _RUNS]
    return sum(outcomes, Outcomes())


async def record_same(catalog: Catalog, number: int) -> Outcomes:
    """The same 50 chunks of u1 as every other process."""
    return await _outcomes([record(catalog, index * 2, 2) for index in range(50)])


async def replace_same(catalog: Catalog, number: int) -> Outcomes:
    """The same two chunks of u1, again and again, in the place of what is there."""
    return await _outcomes([record(catalog, index % 2 * 50, 50, replace=True) for index in range(50)])


async def create(catalog: Catalog, number: int) -> Outcomes:
    """20 uploads of 100 bytes against a quota of 1,000."""
    limits = OwnerLimits(quota=1000)
    return await _outcomes([catalog.create_upload(make_upload(f"p{number}-{index}"), limits) for index in range(20)])


async def begin_commit(catalog: Catalog, number: int) -> Outcomes:
    """Commit u1 ten times at once."""
    tasks = await asyncio.gather(
        *[catalog.begin_commit("u1", SHA_A, make_task(f"t{number}-{index}"), NOW) for index in range(10)]
    )
    return Counter(task.id for task in tasks)


async def commit_or_unrecord(catalog: Catalog, number: int) -> Outcomes:
    """For u0 to u49: half of the processes commit, the other half un-record a chunk."""
    if number % 2:
        return await _outcomes(
            [catalog.begin_commit(f"u{i}", SHA_A, make_task(f"t{number}-{i}", f"u{i}"), NOW) for i in range(50)]
        )
    return await _outcomes([catalog.unrecord_chunk(f"u{i}", 40) for i in range(50)])


async def new_boot(catalog: Catalog, number: int) -> Outcomes:
    """Notice the new boot; how many chunks went."""
    return Counter({"unrecorded": await catalog.new_boot("another boot")})


async def create_and_delete(catalog: Catalog, number: int) -> Outcomes:
    """Make 40 uploads and begin to delete them, which is told in the feed."""
    names = [f"p{number}-{index}" for index in range(40)]
    await asyncio.gather(*[catalog.create_upload(make_upload(name), OwnerLimits()) for name in names])
    return await _outcomes([catalog.begin_delete(name) for name in names])


async def deliver(catalog: Catalog, number: int) -> Outcomes:
    """Fan out and lease deliveries of the endpoint ``app`` until there are none; how often each event was leased."""
    sent: Outcomes = Counter()
    while await catalog.has_deliveries("app", NOW):
        await catalog.fan_out("app", (), NOW)
        for delivery in await catalog.lease_deliveries("app", NOW, later(3600), 3):
            sent[delivery.event_id] += 1
            assert await catalog.settle_delivery(delivery, accepted=True)
    return sent
