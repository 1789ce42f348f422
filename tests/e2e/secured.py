"""Servers that ask who comes: a Kafka with TLS, SCRAM and ACLs, a TLS end before a Redis, and the certificates of both."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final

from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from engine.local.kafka import KafkaBroker
from engine.local.ports import LOOPBACK, choose_port
from engine.settings import Kafka
from schemas.access import Right

KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


@dataclass(frozen=True)
class Certificates:
    """An authority of the test's own, and certificates by it: a server's for loopback and a client's, each in one file with key and chain."""

    ca: Path
    server: Path
    client: Path

    @classmethod
    def made_in(cls, directory: Path) -> Certificates:
        """New ones, by openssl."""
        directory.mkdir()
        ca, ca_key = directory / "ca.pem", directory / "ca.key"
        _openssl("req", "-x509", *KEY, "-keyout", ca_key, "-out", ca, "-subj", "/CN=authority of a test")
        files = []
        for name in ("server", "client"):
            own, key, both = (directory / f"{name}.{ending}" for ending in ("crt", "key", "pem"))
            names = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE")
            by_ca = ("-CA", ca, "-CAkey", ca_key, "-subj", f"/CN={name} of a test")
            _openssl("req", "-x509", *by_ca, *KEY, *names, "-keyout", key, "-out", own)
            both.write_text(key.read_text() + own.read_text() + ca.read_text())
            files.append(both)
        return cls(ca, *files)


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True)


class SecureBroker(KafkaBroker):
    """A broker that lets nobody do what no ACL allows. Users (name: password) come in by SASL_SSL at ``secure_address``, with a certificate
    besides; who comes in by the ordinary address may do everything."""

    def __init__(self, data_dir: Path, certificates: Certificates, users: dict[str, str]) -> None:
        super().__init__(data_dir)
        self._certificates = certificates
        self._users = users
        self._secure_port = 0

    @property
    def secure_address(self) -> str:
        """``host:port`` of the listener for users."""
        return f"{LOOPBACK}:{self._secure_port}"

    def settings_of(self, user: str, password: str | None = None) -> Kafka:
        """The engine's settings of a user."""
        return Kafka.model_validate(
            {
                "bootstrap": self.secure_address,
                "security_protocol": "SASL_SSL",
                "user": user,
                "password": self._users[user] if password is None else password,
                "ca_file": self._certificates.ca,
                "cert_file": self._certificates.client,
            }
        )

    def _more_settings(self, settings: dict[str, str]) -> dict[str, str]:
        self._secure_port = choose_port(self._secure_port, service=self.name, option="secure")
        here = f",USERS://{self.secure_address}"
        return {
            "listeners": settings["listeners"] + here,
            "advertised.listeners": settings["advertised.listeners"] + here,
            "listener.security.protocol.map": settings["listener.security.protocol.map"] + ",USERS:SASL_SSL",
            "listener.name.users.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.users.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(self._certificates.server),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._certificates.ca),
            "listener.name.users.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    def _format_words(self) -> list[str]:
        return [f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]" for name, password in self._users.items()]


class TlsEnd:
    """Ends TLS before a server that has none, which is what Valkey's wheel is built as; for the client it is the server."""

    def __init__(self, certificates: Certificates) -> None:
        self.port = choose_port(0, service="tls", option="port")
        self._target = 0
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates.server)
        self._context.load_verify_locations(certificates.ca)
        self._context.verify_mode = ssl.CERT_REQUIRED  # as Redis has it unless told otherwise
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)

    def start(self, port: int) -> None:
        """Listen, for the server at this port."""
        self._target = port
        self._thread.start()
        listening = asyncio.start_server(self._joined, LOOPBACK, self.port, ssl=self._context)
        asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)

    def stop(self) -> None:
        """Hang up on everybody."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(_all_ended(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, self._target)
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer), return_exceptions=True)


async def _all_ended() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while received := await reader.read(65_536):
            writer.write(received)
            await writer.drain()
    finally:
        writer.close()


def acls_of(principal: str, rights: Iterable[Right]) -> list[ACL]:
    """Rights as Kafka's ACLs."""
    return [
        ACL(
            f"User:{principal}",
            "*",
            ACLOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
            ACLPermissionType.ALLOW,
            ResourcePattern(
                ResourceType[right.resource.replace("-", "_").upper()],
                right.name,
                ACLResourcePatternType.PREFIXED if right.is_prefix else ACLResourcePatternType.LITERAL,
            ),
        )
        for right in rights
        for operation in right.operations
    ]
