"""Uploads a file with Box's generated SDK for Python (box-sdk-gen, boxsdk 10), reads it back and deletes it.

Its argument is JSON: url, token, file, and how: chunked, simple, credentials or abort. Says what happens in lines of
JSON: done, missing.
"""

import hashlib
import json
import pathlib
import sys

from box_sdk_gen import (
    BaseUrls,
    BoxAPIError,
    BoxCCGAuth,
    BoxClient,
    BoxDeveloperTokenAuth,
    CCGConfig,
    NetworkSession,
    PreflightFileUploadCheckParent,
    UploadFileAttributes,
    UploadFileAttributesParentField,
)


def say(event: str, **more: object) -> None:
    print(json.dumps({"event": event, **more}), flush=True)


def main() -> None:
    options = json.loads(sys.argv[1])
    how, path = options["how"], pathlib.Path(options["file"])
    box, size = f"{options['url']}/box", path.stat().st_size
    session = NetworkSession(base_urls=BaseUrls(base_url=box, upload_url=box, oauth_2_url=f"{box}/oauth2"))
    if how == "credentials":
        config = CCGConfig(client_id="x", client_secret=options["token"], enterprise_id="1")
        auth = BoxCCGAuth(config)
    else:
        auth = BoxDeveloperTokenAuth(options["token"])
    client = BoxClient(auth, network_session=session)
    with path.open("rb") as stream:
        if how == "simple":
            parent = UploadFileAttributesParentField(id="0")
            client.uploads.preflight_file_upload_check(
                name=path.name, size=size, parent=PreflightFileUploadCheckParent(id="0")
            )
            attributes = UploadFileAttributes(name=path.name, parent=parent)
            file = client.uploads.upload_file(attributes, stream).entries[0]
        else:
            if how == "abort":
                begun = client.chunked_uploads.create_file_upload_session("0", size, path.name)
                client.chunked_uploads.delete_file_upload_session_by_id(begun.id)
            file = client.chunked_uploads.upload_big_file(stream, path.name, size, "0")
    content = client.downloads.download_file(file.id).read()
    listed = [entry.name for entry in client.folders.get_folder_items("0").entries]
    me = client.users.get_user_me().name
    say("done", id=file.id, sha1=file.sha_1, sha256=hashlib.sha256(content).hexdigest(), listed=listed, me=me)
    client.files.delete_file_by_id(file.id)
    try:
        client.files.get_file_by_id(file.id)
    except BoxAPIError as error:
        say("missing", status=error.response_info.status_code, code=error.response_info.code)


main()
