"""What client libraries are told of the settings: where to connect to, by TLS or not, and who asks. Every client of the engine is made here."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Any, Final, TypeVar

from engine.errors import EngineError
from engine.settings import Kafka, Redis

C = TypeVar("C")
FIRST_ANSWER_MS: Final = 5_000  # how long a command waits for a broker's first answer
NO_TLS: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
RIGHTS: Final = "`limit-engine topics acls` says what each user must be allowed to do"


class RefusedError(EngineError):
    """A server answers, and does not let this user in or do what is to be done: until somebody changes that, here or there."""


def kafka_client(kind: Callable[..., C], kafka: Kafka, *topics: str, **options: Any) -> C:
    """A client of kafka-python, which is imported late. Raises RefusedError when a broker refuses it, KafkaError when none answers."""
    from kafka.errors import KafkaTimeoutError

    try:
        return kind(*topics, **kafka_options(kafka), bootstrap_timeout_ms=FIRST_ANSWER_MS, **options)
    except KafkaTimeoutError:  # it does not say why
        refusal = asyncio.run(refusal_of(kafka))
        if refusal is not None:
            raise refusal from None
        told = f"no answer from {kafka.bootstrap} by {kafka.security_protocol}"
        told += ": does it ask for a certificate of ours?" if kafka.is_encrypted and kafka.cert_file is None else ""
        raise KafkaTimeoutError(told) from None


async def refusal_of(kafka: Kafka) -> RefusedError | None:
    """Why a broker lets no client of these settings in; None if none of them answers, or one does let it in."""
    if kafka.security_protocol == "PLAINTEXT":
        return None  # there is nothing to refuse by
    from aiokafka.conn import create_conn
    from aiokafka.errors import KafkaError

    options = kafka_options(kafka)
    for server in options.pop("bootstrap_servers").split(","):
        host, port = host_and_port(server)
        try:
            async with asyncio.timeout(FIRST_ANSWER_MS / 1000):
                connection = await create_conn(host, port, **options)
        except (KafkaError, OSError) as error:
            refusal = _refusal(kafka, server, error)
            if refusal is not None:
                return refusal
        else:
            connection.close()
            return None
    return None


def _refusal(kafka: Kafka, server: str, error: Exception) -> RefusedError | None:
    """What a broker's first words mean; None: nothing that stays so."""
    from aiokafka.errors import SaslAuthenticationFailed, UnsupportedSaslMechanismError

    where = f"Kafka at {server}"
    if isinstance(error, SaslAuthenticationFailed):
        cure = "set LIMITS_KAFKA__USER and LIMITS_KAFKA__PASSWORD to a user that the brokers know"
        return RefusedError(f"refuses user {kafka.user!r}: unknown, or the password is wrong", where=where, cure=cure)
    if isinstance(error, UnsupportedSaslMechanismError):
        cure = "set LIMITS_KAFKA__SASL_MECHANISM to one that the brokers have"
        return RefusedError(f"does not let users in by {kafka.sasl_mechanism}", where=where, cure=cure)
    return _tls_refusal(error, where, "LIMITS_KAFKA__") if isinstance(error, ssl.SSLError) else None


def redis_refusal(redis: Redis, error: BaseException) -> RefusedError | None:
    """Why a Redis lets nobody of these settings in, by what a client has raised; None: nothing that stays so."""
    from redis.exceptions import AuthenticationError, NoPermissionError

    where, told = f"Redis at {redis.address}", error
    while True:
        if isinstance(told, AuthenticationError):
            cure = "set LIMITS_REDIS__USER and LIMITS_REDIS__PASSWORD, or those in the URL, to a user that it knows"
            return RefusedError("refuses this user: unknown, or the password is wrong", where=where, cure=cure)
        if isinstance(told, NoPermissionError) or "ACL failure" in str(told):
            cure = "give this user the rights that docs/security.md names (ACL SETUSER)"
            return RefusedError(f"does not allow this user what the engine does: {told}", where=where, cure=cure)
        if isinstance(told, ssl.SSLError):
            return _tls_refusal(told, where, "LIMITS_REDIS__")
        below = told.__cause__ or told.__context__  # redis-py does not always say from what
        if below is None:
            return None
        told = below


def forbidden(operation: str, error: Exception) -> RefusedError:
    """That Kafka has refused somebody that it has let in. ``error`` is one of aiokafka's, about topics, a group or a transactional id."""
    kind = type(error).__name__.partition("Authorization")[0]
    kinds = {"Topic": "topic", "Group": "group", "TransactionalId": "transactional id"}
    what = ", ".join(str(name) for arg in error.args for name in (arg if isinstance(arg, set | frozenset | list) else [arg]))
    return RefusedError(f"this user is not allowed {operation} on {kinds.get(kind, kind)} {what}", where="Kafka", cure=RIGHTS)


def _tls_refusal(error: ssl.SSLError, where: str, settings: str) -> RefusedError | None:
    """What an error of TLS means; None: nothing that stays so, as the end of a server in the middle of it."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        cure = f"set {settings}CA_FILE to the file of the authority that has signed it, or connect by a name that is in it"
        return RefusedError(f"its certificate is not believed: {error.verify_message}", where=where, cure=cure)
    if "ALERT" in reason:
        cure = f"set {settings}CERT_FILE to a certificate of an authority that it trusts"
        return RefusedError(f"refuses this client's certificate, or that it has none ({reason})", where=where, cure=cure)
    if reason in NO_TLS:
        return RefusedError(
            f"does not speak TLS ({reason})", where=where, cure="choose its listener for TLS, or the settings for plain text"
        )
    return None


def host_and_port(server: str) -> tuple[str, int]:
    """A bootstrap server's; Kafka's own port where none is given."""
    host, _, port = server.rpartition(":") if re.search(r":\d+$", server) else (server, "", "9092")
    return host.strip("[]"), int(port)


def kafka_options(kafka: Kafka) -> dict[str, Any]:
    """Options of aiokafka's and kafka-python's clients, which have the same names. Raises EngineError for certificates that cannot be read."""
    options: dict[str, Any] = {"bootstrap_servers": kafka.bootstrap, "security_protocol": kafka.security_protocol}
    if kafka.is_encrypted:
        options["ssl_context"] = _tls(kafka)
    if kafka.password is not None:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.user,
            "sasl_plain_password": kafka.password.get_secret_value(),
        }
    return options


def redis_options(redis: Redis) -> dict[str, Any]:
    """Options of redis-py's connections beside the URL. Raises EngineError for certificates that cannot be read."""
    options: dict[str, Any] = {}
    if redis.is_encrypted:
        _tls(redis)  # redis-py makes its own at each connection, and would tell of a wrong file as of an absent server
        files = {"ssl_ca_certs": redis.ca_file, "ssl_certfile": redis.cert_file, "ssl_keyfile": redis.key_file}
        options |= {name: str(file) for name, file in files.items() if file is not None}
    if redis.password is not None:
        options |= {"username": redis.user, "password": redis.password.get_secret_value()}
    return options


def _tls(client: Kafka | Redis) -> ssl.SSLContext:
    """TLS that checks the server's certificate and its name."""
    try:
        context = ssl.create_default_context(cafile=client.ca_file)
    except (ssl.SSLError, OSError) as error:
        raise _unreadable("ca_file", client.ca_file, error) from error
    if client.cert_file is not None:
        try:
            context.load_cert_chain(client.cert_file, client.key_file, password=_nobody_to_ask)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise _unreadable("cert_file", client.cert_file, error) from error
    return context


def _nobody_to_ask() -> str:
    raise ValueError("its key is encrypted, and there is nobody to ask for its password")


def _unreadable(name: str, file: object, error: Exception) -> EngineError:
    return EngineError(f"{name}: no certificate can be read: {error}", where=str(file), cure="give a file in PEM that this user may read")
