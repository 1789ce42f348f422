"""The engine's settings: flag over environment over file, one prefix.

``LIMITS_KAFKA__BOOTSTRAP=broker:9092`` sets ``kafka.bootstrap``; the file is ``limits.toml`` in the working directory, or what ``LIMITS_CONFIG``
names. Secrets may come from files in the directory that ``LIMITS_SECRETS_DIR`` names.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError, TomlConfigSettingsSource

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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(_Section):
    """The cluster, and how long its answers are waited for."""

    bootstrap: Annotated[str, AfterValidator(_bootstrap)] = "127.0.0.1:9092"
    session_timeout_s: Seconds = 10.0
    heartbeat_interval_s: Seconds = 1.0
    fetch_max_wait_ms: Annotated[int, Field(ge=1, le=30_000)] = 200
    transaction_timeout_s: Seconds = 10.0
    commit_deadline_s: Seconds = 15.0


class Redis(_Section):
    """The store. ``backup_days`` is how old a backup may be that somebody restores: `limit-engine doctor` looks whether the journal reaches back
    so far."""

    url: Annotated[str, AfterValidator(_redis_url)] = "redis://127.0.0.1:6379/0"
    backup_days: Annotated[float, Field(gt=0)] = 7.0

    @property
    def address(self) -> str:
        """The URL as it may be shown: without a password."""
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            return f"unix://{parts.path}"
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"***@{host}" if "@" in parts.netloc else host, query="").geturl()


class Shard(_Section):
    """Bounds of one shard's batches, buffers and cache, and when bad input stops it."""

    batch_records: Annotated[int, Field(ge=1, le=200_000)] = 20_000
    buffer_records: Annotated[int, Field(ge=1, le=1_000_000)] = 40_000
    buffer_bytes: Annotated[int, Field(ge=1_000_000)] = 64_000_000
    cache_accounts: Annotated[int, Field(ge=1, le=5_000_000)] = 10_000
    reject_ratio_max: Annotated[float, Field(gt=0, le=1)] = 0.5
    reject_run_max: Annotated[int, Field(ge=1)] = 1_000
    watchdog_s: Seconds = 30.0
    sweep_per_second: Annotated[float, Field(gt=0)] | None = None  # accounts, of each shard; None: as fast as events leave room


class Settings(BaseSettings):
    """Everything that a worker and the commands need to know.

    ``application`` names the deployment: consumer group, transactional ids and Redis keys begin with it. ``fingerprint_key`` (32 hexadecimal
    digits) must be the same for ever: change it, and repetitions are not recognised. ``clock`` is what a shard that has read everything goes
    by: ``wall``, or ``records`` to let time pass only with the records (simulations and tests).
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    application: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,47}$")] = "limits"
    kafka: Kafka = Kafka()
    redis: Redis = Redis()
    shard: Shard = Shard()
    fingerprint_key: Annotated[str, AfterValidator(_key)] = DEFAULT_KEY
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
        return init_settings, env_settings, file_secret_settings, TomlConfigSettingsSource(settings_cls, config_file())


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
