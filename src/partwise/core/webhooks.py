"""Signatures of webhooks, by the Standard Webhooks specification 1.0 (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from hashlib import sha256

#: What secrets begin with, so that people and scanners for leaked secrets know them.
PREFIX = "whsec_"
#: Bytes of a secret, as the specification wants them.
SHORTEST, LONGEST = 24, 64


def parse_secret(text: str) -> bytes:
    """The bytes of a secret that is written as ``whsec_`` and base64. ValueError says what is wrong."""
    try:
        secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"a secret must be {PREFIX} followed by base64") from None
    if not SHORTEST <= len(secret) <= LONGEST:
        raise ValueError(f"a secret must have {SHORTEST} to {LONGEST} bytes. Create one with: openssl rand -base64 32")
    return secret


def signature(secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one signature for each secret, so that secrets can be rotated."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    digests = (hmac.digest(secret, signed, sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
