"""What a store's failures are told as."""

from __future__ import annotations

import http.client
import socket

import pytest
from botocore import exceptions

from partwise.core.errors import StorageFailed
from partwise.storage.s3.failures import failures

URL = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "error, told",
    [
        (exceptions.NoCredentialsError(), "there are no complete credentials"),
        (exceptions.PartialCredentialsError(provider="env", cred_var="x"), "there are no complete credentials"),
        (exceptions.SSLError(endpoint_url=URL, error="bad certificate"), "TLS to the object store failed"),
        (exceptions.ConnectTimeoutError(endpoint_url=URL), "did not respond in time"),
        (exceptions.ReadTimeoutError(endpoint_url=URL), "did not respond in time"),
        (TimeoutError(), "did not respond in time"),
        (exceptions.EndpointConnectionError(endpoint_url=URL), "cannot be reached"),
        (ConnectionRefusedError(), "cannot be reached"),
        (socket.gaierror(), "cannot be reached"),
        (exceptions.ConnectionClosedError(endpoint_url=URL), "the connection to the object store broke"),
        (ConnectionResetError(), "the connection to the object store broke"),
        (BrokenPipeError(), "the connection to the object store broke"),
        (http.client.RemoteDisconnected(""), "the connection to the object store broke"),
        (http.client.BadStatusLine("x"), "the request to the object store failed"),
        (exceptions.UnknownServiceError(service_name="x", known_service_names="y"), "the request to the object store"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_cause_is_told_without_names_of_python(error: Exception, told: str) -> None:
    with pytest.raises(StorageFailed) as raised, failures("read an object"):
        raise error
    sentence = str(raised.value)
    assert sentence.startswith("Cannot read an object: ")
    assert told in sentence
    assert type(error).__name__ not in sentence
    assert sentence.endswith(".")
