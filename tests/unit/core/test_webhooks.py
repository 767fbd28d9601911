"""Signatures of webhooks, judged by the specification's own library."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from partwise.core.webhooks import parse_secret, signature


def new_secret(size: int = 32) -> str:
    return f"whsec_{base64.b64encode(os.urandom(size)).decode()}"


def fields(body: bytes, *secrets: str) -> dict[str, str]:
    now = int(datetime.now(UTC).timestamp())
    keys = [parse_secret(secret) for secret in secrets]
    return {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature(keys, "evt_1", now, body),
    }


def test_the_library_verifies_what_is_signed() -> None:
    secret, body = new_secret(), '{"type":"upload.completed","name":"Zürich"}'.encode()
    assert Webhook(secret).verify(body, fields(body, secret)) == {"type": "upload.completed", "name": "Zürich"}


def test_every_secret_of_a_rotation_verifies() -> None:
    old, new, body = new_secret(24), new_secret(64), b"{}"
    signed = fields(body, old, new)
    for secret in (old, new):
        Webhook(secret).verify(body, signed)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(body, signed)


def test_what_was_changed_does_not_verify() -> None:
    secret, body = new_secret(), b'{"a":1}'
    signed = fields(body, secret)
    for changed, other in ((b'{"a":2}', {}), (body, {"webhook-id": "evt_2"})):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(changed, signed | other)


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_!!!!", "whsec_" + "A" * 8, new_secret(23), new_secret(65), "whsec_A"],
    ids=["empty", "no-bytes", "no-base64", "6-bytes", "23-bytes", "65-bytes", "cut"],
)
def test_bad_secrets(text: str) -> None:
    with pytest.raises(ValueError, match="a secret"):
        parse_secret(text)
