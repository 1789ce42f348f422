"""Kafka's jars, resolved and downloaded once with ``jgo`` into the machine's Maven repository cache."""

from __future__ import annotations

import fcntl
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import EngineError
from engine.local.paths import cache_dir

KAFKA_VERSION = "4.4.0"
# Kafka's own distribution adds a logger to its jars; without one the broker is mute, also about why it does not start.
_SLF4J_VERSION = "1.7.36"
_COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:{_SLF4J_VERSION}"


def kafka_jars() -> list[Path]:
    """The class path of a Kafka broker. The first call on a machine downloads about 40 MB; later ones need no network."""
    try:
        # Only `resolve`: `jgo.build` would also fetch a JDK, to sort the jars for a module path that is not used.
        from jgo import resolve

        with locked(cache_dir() / "jars.lock"):
            artifacts = resolve(_COORDINATES)
            jars = [artifact.resolve() for artifact in artifacts]
            for jar in jars:
                if not zipfile.is_zipfile(jar):  # an earlier download was cut off
                    jar.unlink()
            return [artifact.resolve() for artifact in artifacts]
    except ImportError as error:
        raise missing_extra("kafka", error) from error
    except Exception as error:  # jgo passes on whatever its HTTP client and parsers raise
        raise EngineError(
            f"its jars ({_COORDINATES}) could not be had: {error}",
            where="kafka",
            cure="the first start needs access to Maven Central; or use docker compose, or a broker of your own",
        ) from error


def missing_extra(service: str, error: ImportError) -> EngineError:
    """The error for an installation without the ``local`` extra."""
    return EngineError(f"{error.name or error} is not installed", where=service, cure="pip install 'credit-limit-engine[local]'")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; other programs wait for their turn. The kernel lets go when the holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
