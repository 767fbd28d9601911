"""Uploads a file with tuspy. Its argument is JSON: endpoint, file, and options of the client's uploader.

Says what happens in lines of JSON: sent (after each request), paused, done. While it is paused it waits for a line on
standard input.
"""

import json
import sys

from tusclient import client
from tusclient.storage import filestorage


def say(event: str, **more: object) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


def main() -> None:
    options = json.loads(sys.argv[1])
    endpoint, headers = options.pop("endpoint"), options.pop("headers", {})
    pause_at, store = options.pop("pause_at", None), options.pop("store", None)
    if store is not None:
        options |= {"store_url": True, "url_storage": filestorage.FileStorage(store)}
    uploader = client.TusClient(endpoint, headers=headers).uploader(**options)
    say("begun", offset=uploader.offset)
    size = uploader.get_file_size()
    while uploader.url is None or uploader.offset < size:
        uploader.upload(stop_at=min(size, uploader.offset + uploader.chunk_size))
        say("sent", offset=uploader.offset)
        if pause_at is not None and uploader.offset >= pause_at:
            say("paused", offset=uploader.offset)
            sys.stdin.readline()
            pause_at = None
    say("done", url=uploader.url)


main()
