"""Users whom somebody else has signed in: a proxy that names them in a header field, or an issuer of JWTs."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3
from starlette.requests import Request

from partwise.core.errors import BadRequest, StorageFailed
from partwise.core.records import Principal
from partwise.server.proxied import PEER, Network, is_within

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

log = logging.getLogger(__name__)

#: Signatures with public keys alone: with a shared secret, whoever verifies tokens could make them.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: Seconds that clocks may differ, that keys are kept, and from one look for a key that is not among them to the next.
LEEWAY, KEYS_KEPT, KEYS_ASKED = 30, 600.0, 60.0
_MAX_KEYS_BYTES = 1 << 20


class ProxyIdentity:
    """The user whom a trusted proxy names. Requests that do not come from one of its addresses are nobody's."""

    def __init__(self, header: str, trusted: Sequence[Network], admins: Sequence[str] = ()) -> None:
        self._header = header.lower()
        self._trusted = trusted
        self._admins = frozenset(admins)

    async def __call__(self, request: Request) -> Principal | None:
        """Return the user. BadRequest if the field is present twice, since the proxy's cannot be identified."""
        values = request.headers.getlist(self._header)
        if len(values) > 1:
            raise BadRequest(
                f"The header field {self._header} is repeated {len(values)} times. The proxy must send it once.",
                field=self._header,
            )
        peer = request.scope.get(PEER)
        if not values or peer is None or not is_within(peer, self._trusted):
            return None
        return _principal(values[0], self._admins)


def _principal(name: str, admins: frozenset[str]) -> Principal | None:
    """A user by name; None when it is empty, too long or cannot be shown."""
    try:
        text = name.encode("latin-1").decode().strip()
    except UnicodeError:
        return None
    if not text or len(text) > 100 or not text.isprintable():
        return None
    return Principal(text, admin=text in admins)


class JwtIdentity:
    """The user whom a JSON Web Token names (RFC 7519), sent as a Bearer token. ``jwks``: a file, or a URL.

    Its signature, ``iss``, ``aud`` and ``exp`` are checked. ImportError without the optional part ``oidc``.
    """

    def __init__(
        self, *, issuer: str, audience: str, jwks: str, claim: str = "sub", admins: Sequence[str] = ()
    ) -> None:
        from joserfc import jwt

        self._claim = claim
        self._admins = frozenset(admins)
        self._keys = _Keys(jwks)
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )

    async def __call__(self, request: Request) -> Principal | None:
        """Return the user. StorageFailed if the issuer's keys are unavailable."""
        values = request.headers.getlist("authorization")
        scheme, _, text = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            return None
        claims = await self._verified(text.strip())
        name = claims.get(self._claim) if claims is not None else None
        return _principal(name.encode().decode("latin-1"), self._admins) if isinstance(name, str) else None

    async def _verified(self, text: str) -> dict[str, Any] | None:
        from joserfc import errors, jwt

        for keys in (await self._keys.get(), None):
            try:
                token = jwt.decode(text, keys or await self._keys.get(renew=True), algorithms=ALGORITHMS)
                self._claims.validate(token.claims)
            except errors.InvalidKeyIdError:
                continue  # perhaps a new one
            except (errors.JoseError, ValueError) as error:
                log.info("refused a JSON Web Token: %s", error)
                return None
            return token.claims
        return None


class _Keys:
    """The issuer's public keys, looked up again from time to time."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: KeySet | None = None
        self._read_at = 0.0
        self._turn = asyncio.Lock()

    async def get(self, *, renew: bool = False) -> KeySet:
        """The keys; with ``renew`` as they are now, unless they were looked up a moment ago."""
        async with self._turn:
            age = time.monotonic() - self._read_at
            if self._keys is None or age > (KEYS_ASKED if renew else KEYS_KEPT):
                try:
                    self._keys = await asyncio.to_thread(_read, self._source)
                    self._read_at = time.monotonic()
                except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
                    log.error("cannot read the keys of oidc_jwks at %s: %s", self._source, error)
                    if self._keys is None:
                        raise StorageFailed("The issuer's keys are unavailable. Try again later.") from error
                    self._read_at = time.monotonic() - KEYS_KEPT + KEYS_ASKED  # the old ones serve a little longer
            return self._keys


def _read(source: str) -> KeySet:
    from joserfc.jwk import KeySet

    if not source.startswith(("http://", "https://")):
        return KeySet.import_key_set(json.loads(Path(source).read_bytes()))
    with urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=5)) as pool:
        response = pool.request("GET", source, redirect=False, preload_content=False)
        try:
            data = response.read(_MAX_KEYS_BYTES + 1)
        finally:
            response.release_conn()
        if response.status != 200 or len(data) > _MAX_KEYS_BYTES:
            raise ValueError(f"the response has status {response.status} and {len(data)} bytes")
    return KeySet.import_key_set(json.loads(data))
