"""Settings, from a file, from ``PARTWISE_…`` environment variables and from flags. Later sources take precedence."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from partwise.core.events import EventType
from partwise.core.ranges import MAX_SIZE
from partwise.core.webhooks import parse_secret
from partwise.engine.context import Limits

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+", re.ASCII)

_FIELD = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)

_PATH = re.compile(r"[A-Za-z0-9._~/-]+", re.ASCII)
_PUBLIC = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/-]*)?", re.ASCII)

#: Names the file of settings.
CONFIG_VARIABLE = "PARTWISE_CONFIG"


class BadConfigFile(ValueError):
    """The file of settings cannot be read; ``str`` says why."""


def read_file(path: str) -> dict[str, Any]:
    """The settings in a file: their names and values in TOML, and ``[[webhooks]]`` tables. Raises BadConfigFile."""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise BadConfigFile(f"The settings file {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise BadConfigFile(f"The settings file {path} is not valid TOML ({error}). Correct this place.") from error


def _listed(value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


class SignedUrl(BaseModel):
    """A URL of the application's, which is sent signed requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    #: ``whsec_`` and base64 each. Every request is signed with all of them.
    secrets: tuple[SecretStr, ...] = Field(min_length=1, max_length=8)

    @field_validator("url")
    @classmethod
    def _is_plain(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.fragment:
            raise ValueError(
                "not a valid URL. Write for example https://app.example.org/hooks/files, without a user or a fragment"
            )
        return value

    @field_validator("secrets")
    @classmethod
    def _are_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            parse_secret(secret.get_secret_value())
        return value


class Webhook(SignedUrl):
    """An endpoint that events are sent to."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    #: Empty: all.
    types: tuple[EventType, ...] = ()


class _Environment(EnvSettingsSource):
    """The environment's variables, without those that somebody else put there."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls, env_ignore_empty=True)

    def prepare_field_value(self, field_name: str, field: Any, value: Any, value_is_complex: bool) -> Any:
        """Kubernetes sets PARTWISE_PORT=tcp://ADDRESS:PORT beside every Service that is called partwise."""
        if field_name == "port" and isinstance(value, str) and "://" in value:
            return None
        return super().prepare_field_value(field_name, field, value, value_is_complex)


#: How alike two names are (0 to 1) of which one is taken for a slip of the other.
_NEARLY = 0.85


def ignored_variables() -> dict[str, str]:
    """The variables of the environment that have a setting's name and do not count; a sentence for each."""
    found = {}
    for name in Settings.model_fields:
        variable = f"PARTWISE_{name.upper()}"
        value = os.environ.get(variable)
        if value == "":
            found[variable] = f"{variable} is empty: it counts as not set."
        elif value is not None and name == "port" and "://" in value:
            found[variable] = (
                f"{variable}={value} is ignored: it is what Kubernetes sets for a Service called partwise."
            )
    return found | _misspelt_variables()


def counted_variables() -> dict[str, str]:
    """Return the variables of the environment that count, by the names of their settings."""
    ignored = ignored_variables()
    found = {}
    for variable in os.environ:
        prefix, _, name = variable.upper().partition("_")
        if prefix == "PARTWISE" and name.lower() in Settings.model_fields and variable not in ignored:
            found[name.lower()] = variable
    return found


def local_catalog(data: Path) -> Path:
    """Return the path of the metadata database in a data folder."""
    return data.absolute() / "catalog.sqlite3"


def _misspelt_variables() -> dict[str, str]:
    """The variables whose names are nearly a setting's. Others may be anybody's: the client's, or Kubernetes'."""
    names = [name.upper() for name in Settings.model_fields]
    found = {}
    for variable in os.environ:
        prefix, _, name = variable.upper().partition("_")
        if prefix == "PARTWISE" and name not in names and (near := get_close_matches(name, names, 1, _NEARLY)):
            found[variable] = f"{variable} is ignored: there is no such setting. Is PARTWISE_{near[0]} meant?"
    return found


class Settings(BaseSettings):
    """The settings of a server. Sizes may carry a unit (``16MiB``); times are in seconds where the name says so."""

    model_config = SettingsConfigDict(env_prefix="PARTWISE_", frozen=True, extra="forbid")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, and that over the file that PARTWISE_CONFIG names."""
        file = os.environ.get(CONFIG_VARIABLE)
        environment = _Environment(settings_cls)
        return init_settings, environment, *([InitSettingsSource(settings_cls, read_file(file))] if file else [])

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """The settings with these values, and defaults for all others. No environment and no file is read."""
        return _Given(**values)

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(24817, ge=0, le=65535, description="TCP port; 0 selects a free port")
    data: Path = Field(Path("partwise-data"), description="Folder for uploads, artifacts and metadata")
    catalog: SecretStr | None = Field(
        None,
        description="URL of the metadata database: postgresql://USER:PASSWORD@HOST/DATABASE; "
        "by default SQLite in the data folder",
    )
    storage: str | None = Field(
        None,
        description="URL of the object store: s3://BUCKET/PREFIX?endpoint=URL&region=NAME; "
        "by default files in the data folder",
    )
    redirect_seconds: int | None = Field(
        None, ge=1, le=7 * 86_400, description="Redirect downloads to presigned URLs with this lifetime in seconds"
    )
    migrate: bool = Field(
        True,
        description="Upgrade an outdated database schema at the start, instead of leaving it to partwise upgrade",
    )
    workers: int = Field(1, ge=1, le=256, description="Number of server processes")
    auth: Literal["none", "token", "proxy", "oidc"] = Field(
        "none",
        description="Authentication: none (this machine only), token (tokens of partwise token), "
        "proxy (a header field of a "
        "trusted proxy) or oidc (tokens of an OpenID issuer)",
    )
    proxy_user_header: str | None = Field(
        None, pattern=r"^[A-Za-z0-9-]+$", description="Header field with the user name, set by a trusted proxy"
    )
    oidc_issuer: str | None = Field(None, description="Issuer of JSON Web Tokens (iss)")
    oidc_audience: str | None = Field(None, description="Audience of these tokens (aud)")
    oidc_jwks: str | None = Field(None, description="File or URL of the issuer's public keys")
    oidc_user_claim: str = Field("sub", description="Claim that contains the user name")
    admins: str | None = Field(
        None, description="Users of a proxy or an issuer who are administrators (comma-separated)"
    )
    api_prefix: str = Field("/pulp/api/v3/", description="Path prefix of the REST API")

    dialects: str = Field("pulp,tus", description="Enabled protocols (comma-separated)")

    base_path: str | None = Field(
        None,
        description="Path of the server behind a proxy, such as /partwise (default: that of public_url)",
    )
    public_url: str | None = Field(
        None, description="Public URL of the server behind a proxy, such as https://files.example.org/"
    )
    trusted_proxies: str | None = Field(
        None, description="Networks of proxies whose X-Forwarded-For and -Proto are trusted (comma-separated CIDRs)"
    )

    cors_origins: str | None = Field(
        None, description="Origins whose pages may use the API, such as https://files.example.org (comma-separated)"
    )

    cors_request_headers: str | None = Field(
        None, description="Additional header fields that these origins may send, such as X-Trace (comma-separated)"
    )

    chunk_size: ByteSize = Field(ByteSize(16 << 20), gt=0, description="Chunk size recommended to clients")
    parallel: int = Field(8, ge=1, description="Number of parallel connections recommended to clients")

    durability: Literal["background", "chunk"] = Field(
        "background",
        description="When chunks become durable: background (soon after the response) or chunk (before it)",
    )
    distrust_unsynced: bool = Field(
        False,
        description="Discard chunks that are not known to be durable, after a volume was rolled back",
    )

    max_upload_size: ByteSize | None = Field(None, le=MAX_SIZE, description="Largest size of an upload")
    quota: ByteSize | None = Field(None, description="Storage quota of each user: open uploads and artifacts")
    max_open_uploads: int | None = Field(10_000, ge=1, description="Largest number of open uploads of each user")
    max_artifacts: int | None = Field(
        1_000_000, ge=1, description="Largest number of artifacts and open uploads of each user"
    )
    max_chunks: int = Field(100_000, ge=1, description="Largest number of chunks of an upload")
    max_completed_uploads: int | None = Field(
        10_000,
        ge=1,
        description="Largest number of completed uploads listed for each user; the oldest are removed first",
    )
    free_space_floor: ByteSize = Field(
        ByteSize(256 << 20), ge=0, description="Free disk space that new uploads never use"
    )
    idle_expiry_days: float = Field(7, gt=0, description="Days without activity after which an open upload expires")
    completed_expiry_days: float = Field(
        7, gt=0, description="Days after which a completed upload is removed from the list"
    )
    event_days: float = Field(30, gt=0, description="Days for which events are kept")
    max_event_streams: int | None = Field(
        20, ge=1, description="Largest number of event streams that each user reads at once, in each process"
    )

    release_folder: Path | None = Field(
        None,
        description="Target folder for released artifacts, on the file system of the data folder",
    )
    webhooks: tuple[Webhook, ...] = Field((), description="Endpoints that receive events")
    before_create: SignedUrl | None = Field(
        None, description="URL that is asked before an upload is created, and secrets that sign the question"
    )

    max_connections: int = Field(4096, ge=1, description="Largest number of connections of each process")
    max_requests: int = Field(4096, ge=1, description="Largest number of concurrent requests of each process")
    max_failed_sign_ins: int | None = Field(
        300, ge=1, description="Wrong tokens of one address within a minute, after which further ones are refused"
    )
    header_timeout_seconds: float = Field(20, gt=0, description="Timeout for the request line and header fields")
    body_idle_timeout_seconds: float = Field(60, gt=0, description="Timeout while a request body makes no progress")
    body_min_rate: ByteSize = Field(
        ByteSize(256), ge=0, description="Minimum average rate of a request body, in bytes per second; 0 turns it off"
    )
    body_handover: bool = Field(
        True,
        description="Receive large bodies and send files past the event loop, which is twice as fast or more",
    )
    keep_alive_seconds: int = Field(60, ge=1, description="Idle timeout between two requests of a connection")
    shutdown_seconds: int = Field(30, ge=1, description="How long a stop waits for requests in progress")
    drain_seconds: float = Field(
        0,
        ge=0,
        description="How long /readyz returns 503 before a stop closes the port, "
        "so that load balancers drain the server",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log level; info logs each request"
    )
    audit_file: Path | None = Field(
        None,
        description="File for the audit trail, one JSON object per line; the log has it too",
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Log format; auto means console on a terminal and json elsewhere"
    )

    @field_validator("webhooks")
    @classmethod
    def _have_names(cls, value: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        names = [webhook.name for webhook in value]
        if len(set(names)) < len(names):
            raise ValueError("two endpoints have the same name. Rename one")
        return value

    @field_validator("api_prefix")
    @classmethod
    def _rooted(cls, value: str) -> str:
        return f"/{value.strip('/')}/" if value.strip("/") else "/"

    @field_validator("base_path")
    @classmethod
    def _without_final_slash(cls, value: str | None) -> str | None:
        bare = (value or "").strip("/")
        if bare and not _PATH.fullmatch(bare):
            raise ValueError(f"{value} is not a valid path. Write for example /partwise")
        return f"/{bare}" if bare else None

    @field_validator("public_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not _PUBLIC.fullmatch(value):
            raise ValueError(
                f"{value} is not a valid URL. Write for example https://files.example.org/ or http://host:8080/partwise/"
            )
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str | None) -> str | None:
        for text in _listed(value):
            try:
                ipaddress.ip_network(text)
            except ValueError:
                raise ValueError(f"{text} is not a valid network. Write for example 10.0.0.0/8 or 127.0.0.1") from None
        return value

    @property
    def base(self) -> str:
        """The path below which a proxy has put the server; empty, or without a final slash."""
        return self.base_path or urlsplit(self.public_url or "").path.rstrip("/")

    @property
    def admin_names(self) -> tuple[str, ...]:
        """The users who are administrators, among those whom a proxy or an issuer names."""
        return _listed(self.admins)

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The networks of proxies that are believed."""
        return tuple(ipaddress.ip_network(text) for text in _listed(self.trusted_proxies))

    @property
    def own_origins(self) -> tuple[str, ...]:
        """The origin of the server's own pages, where a proxy makes it another than the Host field says."""
        if self.public_url is None:
            return ()
        parts = urlsplit(self.public_url)
        return (f"{parts.scheme}://{parts.netloc}".lower(),)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str | None) -> str | None:
        for origin in _listed(value):
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin} is not a valid origin. Write for example https://files.example.org, without a path"
                )
        return value

    @property
    def dialect_names(self) -> tuple[str, ...]:
        """The protocols that clients may speak."""
        return _listed(self.dialects)

    @field_validator("cors_request_headers")
    @classmethod
    def _are_fields(cls, value: str | None) -> str | None:
        for name in _listed(value):
            if not _FIELD.fullmatch(name):
                raise ValueError(f"{name} is not a valid header field. Write for example X-Trace")
        return value

    @property
    def more_request_fields(self) -> tuple[str, ...]:
        """The header fields that pages of other origins may send beside the usual ones."""
        return _listed(self.cors_request_headers)

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose pages may use the server."""
        return _listed(self.cors_origins)

    @property
    def catalog_url(self) -> str:
        """Return the URL of the metadata database. It may contain a password, so do not show it."""
        if self.catalog is not None:
            return self.catalog.get_secret_value()
        return f"sqlite:///{local_catalog(self.data)}"

    @property
    def limits(self) -> Limits:
        """The limits in the engine's terms."""
        return Limits(
            max_upload_size=self.max_upload_size,
            quota=self.quota,
            max_open_uploads=self.max_open_uploads,
            max_artifacts=self.max_artifacts,
            max_chunks=self.max_chunks,
            max_completed_uploads=self.max_completed_uploads,
            idle_expiry=timedelta(days=self.idle_expiry_days),
            completed_expiry=timedelta(days=self.completed_expiry_days),
            event_expiry=timedelta(days=self.event_days),
            max_event_streams=self.max_event_streams,
        )


class _Given(Settings):
    """Settings that come from the caller alone."""

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Make settings of the given values only."""
        return (init_settings,)
