"""Box's API for uploads (https://developer.box.com/guides/uploads/) over the engine, for its SDKs as they are.

Chunked upload sessions, uploads of one request, and as much of files and the root folder as those need.
"""
