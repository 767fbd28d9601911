"""Claims, knocks and locks between processes, also those that die."""

from __future__ import annotations

import asyncio
import subprocess
import time
from contextlib import suppress

from partwise.core.errors import RangeBusy, Superseded
from partwise.core.ranges import ByteRange
from partwise.engine.ports import Purpose
from partwise.storage.local import LocalStorage
from tests.support.until import all_started
from tests.unit.storage.conftest import Spawn, heard

ID = "ab"
WHOLE = ByteRange(0, 100)

HOLD = """
writer = await storage.claim("ab", ByteRange(0, 100))
say("held")
await asyncio.sleep(60)
"""

LEAVE = """
writer = await storage.claim("ab", ByteRange(0, 100))
say("held")
await writer.superseded()
writer.close()
say("left")
"""

TAKE = """
try:
    writer = await storage.claim("ab", ByteRange(0, 100))
except PartwiseError as error:
    say(type(error).__name__)
else:
    say("held")
    await asyncio.sleep(60)
"""


async def line(process: subprocess.Popen[str]) -> str:
    return await asyncio.wait_for(asyncio.to_thread(heard, process), 30)


async def test_a_killed_holder_frees_its_range_at_once(storage: LocalStorage, spawn: Spawn) -> None:
    (await storage.reserve(ID, 100)).release()
    holder = spawn(HOLD)
    assert await line(holder) == "held"
    newcomer = asyncio.create_task(storage.claim(ID, WHOLE))
    await all_started()
    assert not newcomer.done()
    holder.kill()
    begun = time.monotonic()
    (await newcomer).close()
    assert time.monotonic() - begun < 1


async def test_a_holder_in_another_process_hears_a_knock(storage: LocalStorage, spawn: Spawn) -> None:
    (await storage.reserve(ID, 100)).release()
    holder = spawn(LEAVE)
    assert await line(holder) == "held"
    begun = time.monotonic()
    (await storage.claim(ID, ByteRange(99, 1))).close()
    assert time.monotonic() - begun < 2
    assert await line(holder) == "left"


async def test_this_process_hears_a_knock_of_another(storage: LocalStorage, spawn: Spawn) -> None:
    (await storage.reserve(ID, 200)).release()
    holder = await storage.claim(ID, WHOLE)
    beside = await storage.claim(ID, ByteRange(100, 100))
    unasked = asyncio.ensure_future(beside.superseded())
    newcomer = spawn(TAKE)
    await asyncio.wait_for(holder.superseded(), 30)
    holder.close()
    assert await line(newcomer) == "held"
    assert not unasked.done()
    unasked.cancel()
    beside.close()


async def test_of_waiting_processes_the_newest_wins(storage: LocalStorage, spawn: Spawn) -> None:
    (await storage.reserve(ID, 100)).release()
    holder = await storage.claim(ID, WHOLE)
    older = spawn(TAKE)
    await asyncio.wait_for(holder.superseded(), 30)
    newest = asyncio.create_task(storage.claim(ID, WHOLE))
    assert await line(older) == "Superseded"
    holder.close()
    (await newest).close()


async def test_many_processes_never_write_the_same_bytes_at_once(storage: LocalStorage, spawn: Spawn) -> None:
    (await storage.reserve(ID, 100)).release()
    body = """
import os
for turn in range(15):
    try:
        writer = await storage.claim("ab", ByteRange(0, 100))
    except PartwiseError as error:
        assert type(error).__name__ in ("Superseded", "RangeBusy"), error
        continue
    mine = os.getpid().to_bytes(4, "big") * 25
    writer.write(0, memoryview(mine))
    asked = asyncio.ensure_future(writer.superseded())
    await asyncio.wait({asked}, timeout=0.01)
    assert writer.read(0, 100) == mine, "another writer was here"
    asked.cancel()
    writer.close()
say("done")
"""
    processes = [spawn(body) for _ in range(4)]
    assert [await line(process) for process in processes] == ["done"] * 4
    with suppress(Superseded, RangeBusy):
        (await storage.claim(ID, WHOLE)).close()


async def test_a_killed_process_frees_its_other_locks(storage: LocalStorage, spawn: Spawn) -> None:
    digest = "0" * 64
    holder = spawn(
        f"""
from partwise.engine.ports import Purpose
kept = [await storage.try_lock("ab", purpose) for purpose in Purpose]
kept.append(await storage.reserve("cd", 1000))
async with storage.digest_lock("{digest}"):
    say("held")
    await asyncio.sleep(60)
"""
    )
    assert await line(holder) == "held"
    assert [await storage.try_lock(ID, purpose) for purpose in Purpose] == [None] * len(Purpose)
    assert list(storage.list_staged()) == []
    waiting = asyncio.create_task(_pass(storage, digest))
    await all_started()
    assert not waiting.done()
    holder.kill()
    holder.wait()
    await asyncio.wait_for(waiting, 5)
    for purpose in Purpose:
        lock = await storage.try_lock(ID, purpose)
        assert lock is not None
        lock.release()
    assert list(storage.list_staged()) == ["cd"]


async def _pass(storage: LocalStorage, digest: str) -> None:
    async with storage.digest_lock(digest):
        pass
