from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from partwise.client import CannotReachServer, Client
from tests.unit.client.fake_server import running


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("makes a certificate with the openssl command")
    path = tmp_path / "certificate.pem"
    wish = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    out = ["-keyout", str(path), "-out", str(tmp_path / "public.pem")]
    subprocess.run([openssl, "req", "-x509", *key, *wish, *out], check=True, capture_output=True, timeout=30)
    with path.open("ab") as whole:
        whole.write((tmp_path / "public.pem").read_bytes())
    return path


def test_files_go_over_tls_whole(certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    path = tmp_path / "data.bin"
    path.write_bytes(os.urandom(5 * 1024 * 1024 + 3))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with running(context) as fake, Client(fake.url) as client:
        result = client.upload(path, chunk_size=2 * 1024 * 1024)
        assert fake.artifacts[result.sha256] == path.read_bytes()


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"secret")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with (
        running(context) as fake,
        Client(fake.url, patience_seconds=0) as client,
        pytest.raises(CannotReachServer, match=r"(?i)certificate"),
    ):
        client.upload(path)
    assert fake.requests == []
