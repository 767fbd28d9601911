"""Uploads a file with Box's SDK for Python before it was generated (boxsdk 3), reads it back and deletes it.

Its argument is JSON: url, token, file, and how: chunked, simple, resume or credentials. Says what happens in lines of
JSON: part, done, missing.
"""

import hashlib
import json
import pathlib
import sys

import boxsdk
import requests
from boxsdk.exception import BoxAPIException


def say(event: str, **more: object) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


def main() -> None:
    options = json.loads(sys.argv[1])
    url, token, path = options["url"], options["token"], pathlib.Path(options["file"])
    boxsdk.config.API.BASE_API_URL = boxsdk.config.API.UPLOAD_URL = f"{url}/box/2.0"
    boxsdk.config.API.OAUTH2_API_URL = f"{url}/box/oauth2"
    if options["how"] == "credentials":
        auth = boxsdk.CCGAuth(client_id="x", client_secret=token, enterprise_id="1")
        auth.authenticate_instance()
    else:
        auth = boxsdk.OAuth2(client_id="", client_secret="", access_token=token)
    client = boxsdk.Client(auth)
    folder = client.folder("0")
    if options["how"] == "simple":
        folder.preflight_check(size=path.stat().st_size, name=path.name)
        with path.open("rb") as stream:
            file = folder.upload_stream(stream, path.name)
    elif options["how"] == "resume":
        session = folder.create_upload_session(path.stat().st_size, path.name)
        with path.open("rb") as stream:
            stream.seek(session.part_size)
            content = stream.read(session.part_size)
            session.upload_part_bytes(content, session.part_size, path.stat().st_size)
        say("part")
        sys.stdin.readline()
        file = session.get_chunked_uploader(str(path)).resume()
    else:
        uploader = folder.get_chunked_uploader(str(path))
        try:
            file = uploader.start()
        except requests.ConnectionError:  # it tries again once, and may take another connection that is broken, too
            file = uploader.resume()
    content = client.file(file.id).content()
    listed = [item.name for item in folder.get_items()]
    say("done", id=file.id, sha256=hashlib.sha256(content).hexdigest(), listed=listed, me=client.user().get().name)
    client.file(file.id).delete()
    try:
        client.file(file.id).get()
    except BoxAPIException as error:
        say("missing", status=error.status, code=error.code)


main()
