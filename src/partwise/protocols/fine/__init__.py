"""Fine Uploader 5.16 (https://docs.fineuploader.com) over the engine: its traditional endpoint, the client as it is.

Every request names its file by a UUID that the client made. The upload's id is made of the owner and that, so that
nothing need be remembered, and nobody reaches another one's.
"""
