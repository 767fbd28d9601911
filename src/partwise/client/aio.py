"""`Client` for asynchronous code."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import TypeVar, Unpack

from partwise.client.api import Client, UploadSource
from partwise.client.models import ArtifactInfo, DownloadResult, EventBatch, Observer, UploadInfo, UploadResult
from partwise.client.parameters import ClientOptions, DownloadOptions, ReadOptions, UploadOptions, WatchOptions
from partwise.client.receive import Writable
from partwise.client.stream import Bytes

T = TypeVar("T")

#: Seconds between two looks whether a transfer was stopped that waits for an asynchronous iterator.
_LOOK_SECONDS = 0.1


class AsyncClient:
    """`Client` for asynchronous code: the same calls as coroutines; the work is done in threads.

    Cancelling an `upload` or `download` stops it; what was transferred is taken up by the next call.
    """

    def __init__(self, server: str | None = None, **options: Unpack[ClientOptions]) -> None:
        """Takes what `Client` takes."""
        self._client = Client(server, **options)

    async def upload(
        self, source: UploadSource | AsyncIterable[Bytes], **options: Unpack[UploadOptions]
    ) -> UploadResult:
        """`Client.upload`, without ``cancelled``. ``source`` may also be an asynchronous iterable of bytes.

        That is iterated in the running loop; all else is read in a thread.
        """
        loop = asyncio.get_running_loop()

        def work(stop: threading.Event) -> UploadResult:
            if not isinstance(source, AsyncIterable):
                return self._client.upload(source, cancelled=stop, **options)
            with closing(_blocks_of(source, loop)) as blocks:
                return self._client.upload(blocks, cancelled=stop, **options)

        return await _stoppable(work)

    async def download(
        self,
        artifact: str | ArtifactInfo,
        target: str | os.PathLike[str] | Writable,
        **options: Unpack[DownloadOptions],
    ) -> DownloadResult:
        """`Client.download`, without ``cancelled``. A file object is written in a thread."""
        return await _stoppable(lambda stop: self._client.download(artifact, target, cancelled=stop, **options))

    async def read(self, artifact: str | ArtifactInfo, **options: Unpack[ReadOptions]) -> bytes:
        """`Client.read`, without ``cancelled``."""
        return await _stoppable(lambda stop: self._client.read(artifact, cancelled=stop, **options))

    async def stream(
        self, artifact: str | ArtifactInfo, **options: Unpack[WatchOptions]
    ) -> AsyncGenerator[bytes, None]:
        """`Client.stream`, without ``cancelled``: an asynchronous iterator.

        It raises VerificationFailed at its end if the bytes were wrong, so trust none before it has ended.
        """
        stop = threading.Event()
        blocks = await _stoppable(lambda stop: self._client.stream(artifact, cancelled=stop, **options), stop)
        try:
            while (block := await _stoppable(lambda stop: next(blocks, None), stop)) is not None:
                yield block
        finally:
            stop.set()
            await asyncio.to_thread(blocks.close)

    async def upload_info(self, upload: str) -> UploadInfo:
        """`Client.upload_info`."""
        return await asyncio.to_thread(self._client.upload_info, upload)

    async def artifact(self, artifact: str) -> ArtifactInfo:
        """`Client.artifact`."""
        return await asyncio.to_thread(self._client.artifact, artifact)

    async def find_artifact(self, reference: str) -> ArtifactInfo:
        """`Client.find_artifact`."""
        return await asyncio.to_thread(self._client.find_artifact, reference)

    async def find_content(
        self, path: str | os.PathLike[str], *, observer: Observer | None = None
    ) -> ArtifactInfo | None:
        """`Client.find_content`, without ``cancelled``."""
        return await _stoppable(lambda stop: self._client.find_content(path, observer=observer, cancelled=stop))

    async def uploads(self, *, search: str | None = None) -> list[UploadInfo]:
        """`Client.uploads`, as a list."""
        return await asyncio.to_thread(lambda: list(self._client.uploads(search=search)))

    async def artifacts(
        self, *, sha256: str | None = None, filename: str | None = None, search: str | None = None
    ) -> list[ArtifactInfo]:
        """`Client.artifacts`, as a list."""
        return await asyncio.to_thread(
            lambda: list(self._client.artifacts(sha256=sha256, filename=filename, search=search))
        )

    async def events(
        self, *, after: str | None = None, types: Sequence[str] = (), limit: int = 100, wait: int = 0
    ) -> EventBatch:
        """`Client.events`."""
        return await asyncio.to_thread(self._client.events, after=after, types=types, limit=limit, wait=wait)

    async def release(self, artifact: str, path: str) -> None:
        """`Client.release`."""
        await asyncio.to_thread(self._client.release, artifact, path)

    async def check_access(self) -> str | None:
        """`Client.check_access`."""
        return await asyncio.to_thread(self._client.check_access)

    async def delete_upload(self, upload: str) -> None:
        """`Client.delete_upload`."""
        await asyncio.to_thread(self._client.delete_upload, upload)

    async def delete_artifact(self, artifact: str) -> None:
        """`Client.delete_artifact`."""
        await asyncio.to_thread(self._client.delete_artifact, artifact)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._client.close)


async def _stoppable(call: Callable[[threading.Event], T], stop: threading.Event | None = None) -> T:
    """Run ``call`` in a thread; when the awaiting task is cancelled, tell it to stop and wait until it has."""
    stop = stop or threading.Event()
    work = asyncio.ensure_future(asyncio.to_thread(call, stop))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([work])
        # Its outcome no longer matters, but must be looked at.
        if not work.cancelled():
            work.exception()
        raise


def _blocks_of(source: AsyncIterable[Bytes], loop: asyncio.AbstractEventLoop) -> Generator[Bytes, None, None]:
    """The blocks of an asynchronous iterable, for a thread beside its loop; empty ones while there is none."""
    blocks = aiter(source)

    async def step() -> Bytes | None:
        return await anext(blocks, None)

    while True:
        waiting = asyncio.run_coroutine_threadsafe(step(), loop)
        try:
            while not waiting.done():
                with suppress(TimeoutError):
                    waiting.result(_LOOK_SECONDS)
                if not waiting.done():
                    yield b""
        finally:
            if not waiting.done():
                waiting.cancel()
        block = waiting.result()
        if block is None:
            return
        yield block
