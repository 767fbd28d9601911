"""botocore, made quick for a process that opens many object stores."""

from __future__ import annotations

import functools

import botocore.loaders


def share_descriptions() -> None:
    """Have all clients of this process share the description of S3, and those of its forks.

    Each reads it anew otherwise, which is most of the CPU time that it takes to open a store.
    """
    botocore.loaders.create_loader = functools.cache(botocore.loaders.create_loader)
