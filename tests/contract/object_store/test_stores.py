"""Every object store under the exported suite: the one that is built in, and one that a table entry adds."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from partwise.storage.objects.store import ObjectStore
from partwise.storage.schemes import scheme_of
from partwise.testing.object_store import ObjectStoreContract
from tests.support import dict_store
from tests.support.server import Http, ServerProcess, sha256


class TestDictStore(ObjectStoreContract):
    """One module in memory."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        return dict_store.open_url(f"dict://{uuid.uuid4()}")


@pytest.mark.engines
class TestS3(ObjectStoreContract):
    """S3's protocol, over a real store."""

    @pytest.fixture
    def store(self, s3_url: str) -> Iterator[ObjectStore]:
        store = scheme_of(s3_url).open_url(s3_url)
        yield store
        store.close()


class DictServer(ServerProcess):
    """A server that can open it."""

    program = (
        "-c",
        "from partwise.storage.schemes import SCHEMES; SCHEMES['dict'] = 'tests.support.dict_store'; "
        "from partwise.server.run import serve; from partwise.server.settings import Settings; serve(Settings())",
    )


@pytest.mark.engines
def test_a_store_is_one_module_and_one_line(tmp_path: Path, postgres_url: str) -> None:
    data = os.urandom(3_000_000)
    with DictServer(tmp_path, catalog=postgres_url, storage="dict://files") as server, Http(server.port) as http:
        href = http.create(len(data))
        for start in (2_000_000, 0, 1_000_000):
            assert http.put(href, start, data[start : start + 1_000_000]).status == 200
        answer = http.commit(href, data)
        assert answer.json["sha256"] == sha256(data)
        assert http("GET", f"{answer.json['artifact']}download/").body == data


@pytest.mark.parametrize("url", ["ftp://x", "nothing"])
def test_a_scheme_that_nobody_knows_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=r"Use one of: s3://"):
        scheme_of(url)
