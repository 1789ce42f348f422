"""The engine's settings: flag over environment over file, one prefix.

``LIMITS_KAFKA__BOOTSTRAP=broker:9092`` sets ``kafka.bootstrap``; the file is ``limits.toml`` in the working directory, or what ``LIMITS_CONFIG``
names. Secrets may come from files in the directory that ``LIMITS_SECRETS_DIR`` names, each with its variable's name: ``LIMITS_KAFKA__PASSWORD``.
"""

from __future__ import annotations

import os
import re
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FilePath, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from engine.core.fingerprint import FingerprintKey
from engine.errors import EngineError

PREFIX: Final = "LIMITS_"
DEFAULT_KEY: Final = "000102030405060708090a0b0c0d0e0f"

SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")

Seconds = Annotated[float, Field(gt=0)]


def _key(text: str) -> str:
    try:
        FingerprintKey.from_hex(text)
    except ValueError:
        raise ValueError("must be 32 hexadecimal digits") from None
    return text


def _bootstrap(text: str) -> str:
    if not all(SERVER.fullmatch(server) for server in text.split(",")):
        raise ValueError(f"must be HOST:PORT, or several with commas between them, not {text!r}")
    return text


def _redis_url(text: str) -> str:
    if not _is_redis_url(urlsplit(text)):
        raise ValueError("must be a URL such as redis://127.0.0.1:6379/0")  # not told in full: it may hold a password
    return text


def _is_redis_url(parts: SplitResult) -> bool:
    try:
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and re.fullmatch(r"(/[0-9]*)?", parts.path) is not None


def _is_here(host: str) -> bool:
    """Whether a host is this machine: what goes there crosses no network."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Client(_Section):
    """How a client shows who it is, and whom it believes."""

    user: str | None = None
    password: SecretStr | None = None
    ca_file: FilePath | None = None  # PEM; None: the authorities that this machine trusts
    cert_file: FilePath | None = None  # PEM, the client's own, for servers that ask for one
    key_file: FilePath | None = None  # PEM; None: the key lies in cert_file
    allow_plaintext: bool = False

    def _check_files(self, is_encrypted: bool, cure: str) -> None:
        given = [name for name in ("ca_file", "cert_file", "key_file") if getattr(self, name) is not None]
        if given and not is_encrypted:
            raise ValueError(f"{given[0]} is given, and nothing is encrypted: {cure}")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is given without cert_file")

    def _check_hosts(self, hosts: list[str], name: str, cure: str) -> None:
        away = [host for host in hosts if not _is_here(host)]
        if away and not self.allow_plaintext:
            flag = f"{PREFIX}{name}__ALLOW_PLAINTEXT=true"
            raise ValueError(f"{away[0]} is another machine, and nothing is encrypted: {cure}, or {flag} where the network is yours alone")


class Kafka(_Client):
    """The cluster, how it is spoken to, and how long its answers are waited for."""

    bootstrap: Annotated[str, AfterValidator(_bootstrap)] = "127.0.0.1:9092"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    session_timeout_s: Seconds = 10.0
    heartbeat_interval_s: Seconds = 1.0
    fetch_max_wait_ms: Annotated[int, Field(ge=1, le=30_000)] = 200
    transaction_timeout_s: Seconds = 10.0
    commit_deadline_s: Seconds = 15.0

    @property
    def is_encrypted(self) -> bool:
        """Whether connections are TLS."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def has_login(self) -> bool:
        """Whether connections begin with user and password."""
        return self.security_protocol.startswith("SASL_")

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        with_login = f"set {PREFIX}KAFKA__SECURITY_PROTOCOL=SASL_SSL"
        cure = f"{with_login}, or SSL"
        if self.has_login and (self.user is None or self.password is None):
            raise ValueError(f"{self.security_protocol} needs {PREFIX}KAFKA__USER and {PREFIX}KAFKA__PASSWORD")
        if not self.has_login and (self.user is not None or self.password is not None):
            raise ValueError(f"a user or password is given, and {self.security_protocol} has no use for it: {with_login}")
        self._check_files(self.is_encrypted, cure)
        if not self.is_encrypted:
            hosts = [server if server.endswith("]") else server.rpartition(":")[0] or server for server in self.bootstrap.split(",")]
            self._check_hosts(hosts, "KAFKA", cure)
        return self


class Redis(_Client):
    """The store. User and password stand in the URL or beside it. ``backup_days`` is how old a backup may be that somebody restores:
    `limit-engine doctor` looks whether the journal reaches back so far."""

    url: Annotated[str, AfterValidator(_redis_url)] = Field(default="redis://127.0.0.1:6379/0", repr=False)
    backup_days: Annotated[float, Field(gt=0)] = 7.0

    @property
    def address(self) -> str:
        """The URL as it may be shown: without a password."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return f"unix://{parts.path}"
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"***@{host}" if "@" in parts.netloc else host, query="").geturl()

    @property
    def is_encrypted(self) -> bool:
        """Whether connections are TLS."""
        return self.url.startswith("rediss:")

    @property
    def has_login(self) -> bool:
        """Whether connections begin with a password."""
        return self.password is not None or self._has_own_login

    @property
    def _has_own_login(self) -> bool:
        parts = urlsplit(self.url)
        return "@" in parts.netloc or not {"username", "password"}.isdisjoint(parse_qs(parts.query))

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        parts, cure = urlsplit(self.url), f"set {PREFIX}REDIS__URL=rediss://..."
        if self.user is not None and self.password is None:
            raise ValueError(f"a user is given without {PREFIX}REDIS__PASSWORD")
        if self.password is not None and self._has_own_login:
            raise ValueError("a password is given both in the URL and beside it: leave one out")
        self._check_files(self.is_encrypted, cure)
        if parts.scheme == "redis":
            self._check_hosts([parts.hostname or ""], "REDIS", cure)
        return self


class Shard(_Section):
    """Bounds of one shard's batches, buffers and cache, and when bad input stops it."""

    batch_records: Annotated[int, Field(ge=1, le=200_000)] = 20_000
    buffer_records: Annotated[int, Field(ge=1, le=1_000_000)] = 40_000
    cache_accounts: Annotated[int, Field(ge=1, le=5_000_000)] = 6_000  # as rows, and of a batch
    cache_bytes: Annotated[int, Field(ge=0)] = 16_000_000  # of encoded states, behind the rows
    reject_ratio_max: Annotated[float, Field(gt=0, le=1)] = 0.5
    reject_run_max: Annotated[int, Field(ge=1)] = 1_000
    watchdog_s: Seconds = 30.0
    sweep_per_second: Annotated[float, Field(gt=0)] | None = None  # accounts, of each shard; None: as fast as events leave room


class Settings(BaseSettings):
    """Everything that a worker and the commands need to know.

    ``application`` names the deployment: consumer group, transactional ids and Redis keys begin with it. ``fingerprint_key`` (32 hexadecimal
    digits) must be the same for ever: change it, and repetitions are not recognised. ``clock`` is what a shard that has read everything goes
    by: ``wall``, or ``records`` to let time pass only with the records (simulations and tests). ``buffer_bytes`` is about as much memory as the
    records may take that the worker has read and not taken yet, those of all its shards.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True)

    application: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,47}$")] = "limits"
    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    shard: Shard = Shard()
    buffer_bytes: Annotated[int, Field(ge=1_000_000)] = 40_000_000
    fingerprint_key: Annotated[str, AfterValidator(_key)] = Field(default=DEFAULT_KEY, repr=False)
    clock: Literal["wall", "records"] = "wall"
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    log_format: Literal["auto", "json", "text"] = "auto"

    @property
    def key(self) -> FingerprintKey:
        """The fingerprint key as the core takes it."""
        return FingerprintKey.from_hex(self.fingerprint_key)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, secrets from files, the file."""
        secrets = NestedSecretsSettingsSource(file_secret_settings)
        return init_settings, env_settings, secrets, TomlConfigSettingsSource(settings_cls, config_file())


def config_file() -> Path:
    """The settings file; it need not be there."""
    return Path(os.environ.get(f"{PREFIX}CONFIG", "limits.toml"))


def load_settings(**flags: object) -> Settings:
    """Settings with these flags on top (None: not given). Raises pydantic.ValidationError, and EngineError for what cannot be read."""
    given = {name: value for name, value in flags.items() if value is not None}
    file, secrets = config_file(), os.environ.get(f"{PREFIX}SECRETS_DIR")
    if f"{PREFIX}CONFIG" in os.environ and not file.is_file():
        raise EngineError(f"{file} is not a file", where=f"{PREFIX}CONFIG")
    if secrets is not None and not Path(secrets).is_dir():
        raise EngineError(f"{secrets} is not a directory", where=f"{PREFIX}SECRETS_DIR")
    try:
        return Settings(_secrets_dir=secrets, **given)  # type: ignore[arg-type]
    except SettingsError as error:
        raise EngineError(
            f"{error}: it is not JSON", where="settings", cure=f"set the parts one by one, as {PREFIX}KAFKA__BOOTSTRAP"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EngineError(str(error), where=str(file)) from error
    except OSError as error:
        raise EngineError(error.strerror or str(error), where=error.filename or str(file)) from error
