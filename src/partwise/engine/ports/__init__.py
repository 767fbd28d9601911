"""Interfaces of storage, catalog and request bodies. Read this module first.

How a chunk becomes part of a file, on a storage that writes in place (local files)
-----------------------------------------------------------------------------------
1. ``Storage.claim`` the range: a kernel lock, so that one writer at a time has it, across processes. The newest wins.
2. *After* the claim, ``Catalog.find_chunks``: state and rows read before the claim may be outdated.
3. The same range is recorded already: compare the body with the stored bytes as it comes. All equal: done, nothing
   written. At the first difference ``Catalog.unrecord_chunk`` (the upload must be open; ``epoch`` rises), then write.
4. ``ChunkWriter.write`` in large blocks on a worker thread. Short body, wrong digest: nothing is recorded.
5. ``Catalog.record_chunk``: one transaction {lock the upload's row; it is open; nothing overlaps; insert, next seq}.
6. ``ChunkWriter.close``. A thread that is still inside ``write`` closes the descriptor itself when it returns. If it
   were closed earlier, its number could belong to another upload's file by the time the write starts.

A storage that keeps each chunk as an immutable object overwrites nothing. There, step 3 compares digests, and step 5
replaces the row of the same range. The newest row wins, and ``epoch`` rises. The catalog then stores the list of an
artifact's segments (``ObjectRecords``), so that publishing and deleting are part of its transactions.

How an upload becomes an artifact
---------------------------------
1. ``Catalog.begin_commit``: open and covered → committing.
2. Wait for the digest of the whole file in the current generation (``epoch``). If it differs from the expected one:
   ``Catalog.reject_commit``. Verdicts carry the generation, so a process that was suspended meanwhile has no effect.
3. Flush, and ``Catalog.mark_durable``. From here on, a power loss cannot reopen the upload, whose file is about to
   get a second name.
4. Under ``Storage.digest_lock`` and with ``Storage.exclude_writers`` (no writer and no writable descriptor is left):
   ``Storage.publish`` (bytes to disk, then link, then the folder to disk), and ``Catalog.complete_commit``; what turns
   out to be stale is withdrawn. Deleting an artifact takes the same lock.
5. ``Storage.discard`` the staging name. Each step may be repeated after a crash, by any process that holds the
   upload's COMMIT lock.

=============================================  ============================  =====================================
crash after                                    left behind                   recovery
=============================================  ============================  =====================================
the file is made, before its row               a file without a row          delete it
invalidation, or part of the writes            a missing range               none: the record is true
all bytes are written, before the row          a missing range               none: it was never acknowledged
``committing``, or bytes to disk               nothing is lost               go on; hash again
link, before or after the folder's fsync       a file without a record, or   link again (the same inode), fsync,
                                               no link after a power loss    record
record, before the staging name goes           one staging name too many     unlink it
the answer is lost                             nothing                       a repeat answers the same
=============================================  ============================  =====================================
"""

from __future__ import annotations

from partwise.engine.ports.bodies import BLOCK, Body, CopyRefused, Origin, Piece, Sink, StoredBody
from partwise.engine.ports.catalog import (
    ArtifactRecords,
    Catalog,
    CatalogLife,
    ChunkRecords,
    CommitRecords,
    OwnerLimits,
    UploadRecords,
)
from partwise.engine.ports.deliveries import Delivery, DeliveryCount, DeliveryRecords
from partwise.engine.ports.events import EventRecords
from partwise.engine.ports.objects import ObjectRecords
from partwise.engine.ports.releases import ReleaseRecords, ReleasingStorage
from partwise.engine.ports.storage import ArtifactFile, ChunkWriter, Lock, Purpose, RunningHash, Space, Storage, Stored
from partwise.engine.ports.tokens import Ticket, Tickets, Token, Tokens
from partwise.engine.ports.transfers import Transfers

__all__ = [
    "BLOCK",
    "ArtifactFile",
    "ArtifactRecords",
    "Body",
    "Catalog",
    "CatalogLife",
    "ChunkRecords",
    "ChunkWriter",
    "CommitRecords",
    "CopyRefused",
    "Delivery",
    "DeliveryCount",
    "DeliveryRecords",
    "EventRecords",
    "Lock",
    "ObjectRecords",
    "Origin",
    "OwnerLimits",
    "Piece",
    "Purpose",
    "ReleaseRecords",
    "ReleasingStorage",
    "RunningHash",
    "Sink",
    "Space",
    "Storage",
    "Stored",
    "StoredBody",
    "Ticket",
    "Tickets",
    "Token",
    "Tokens",
    "Transfers",
    "UploadRecords",
]
