"""What calltape asks of aiokafka: how to connect, and its errors in our words. Nobody else translates them."""

from __future__ import annotations

import contextlib
import logging
import ssl
import traceback
from collections.abc import Iterator
from typing import Any

from aiokafka import errors

from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import EntryTooLarge, LogBroken, LogClosed, LogError, LogUnavailable
from schema.topics import Topic


def connection(bootstrap: str, tuning: KafkaTuning) -> dict[str, Any]:
    """What every client of aiokafka is told."""
    secured = {True: "SASL_SSL", False: "SASL_PLAINTEXT"} if tuning.username else {True: "SSL", False: "PLAINTEXT"}
    told: dict[str, Any] = {"bootstrap_servers": bootstrap, "security_protocol": secured[tuning.tls]}
    if tuning.tls:
        told["ssl_context"] = ssl.create_default_context(cafile=tuning.ca)
    if tuning.username:
        told["sasl_mechanism"] = tuning.mechanism
        told["sasl_plain_username"] = tuning.username
        told["sasl_plain_password"] = tuning.password
    return told


def quieten() -> None:
    """aiokafka says a line for each record or partition while a broker is away. What matters is an error of ours."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError, errors.RecordTooLargeError)
_REFUSED = (
    errors.AuthenticationFailedError,
    errors.AuthenticationMethodNotSupported,
    errors.ClusterAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.IllegalSaslStateError,
    errors.SaslAuthenticationFailed,
    errors.TopicAuthorizationFailedError,
    errors.UnsupportedSaslMechanismError,
)
_DAMAGED = (errors.CorruptRecordException, errors.UnsupportedVersionError, errors.UnsupportedForMessageFormatError)
_MISCONFIGURED = (
    errors.InvalidSessionTimeoutError,
    errors.InvalidGroupIdError,
    errors.InconsistentGroupProtocolError,
    errors.PolicyViolationError,
    errors.InvalidConfigurationError,
)
# A broker that wants TLS hangs up on who speaks without, and the other way round.
_LOOK = "check that the brokers run, that CALLTAPE_LOG names them, and CALLTAPE_KAFKA_TLS"


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Errors of the driver become those of the port. `where` says what was asked of which brokers."""
    try:
        yield
    except LogError:
        raise
    except TimeoutError as error:
        raise LogUnavailable(f"{where}: no answer in time; {_LOOK}") from error
    except (errors.KafkaError, errors.ConsumerStoppedError, OSError) as error:
        raise our_error(error, where) from error


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """Around the start of any client of aiokafka, with its time-out inside.

    A start that is cancelled forgets its first connection, which stays open until the garbage is collected: it is found
    in the frame that held it.
    """
    try:
        yield
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None:
            for frame, _ in traceback.walk_tb(cause.__traceback__):
                if (first := frame.f_locals.get("bootstrap_conn")) is not None:
                    first.close()
            cause = cause.__cause__ or cause.__context__
        raise


def our_error(error: BaseException, where: str) -> LogError:
    """The port's word for what the driver said."""
    said = str(error) if isinstance(error, errors.KafkaError) else f"{type(error).__name__}: {error}"
    if isinstance(error, errors.ConsumerStoppedError):
        return LogClosed(f"{where}: the log was closed")
    if isinstance(error, _TOO_LARGE):
        return EntryTooLarge(f"{where}: {said}; the broker's message.max.bytes is lower than what calltape appends")
    if isinstance(error, _REFUSED):
        return LogBroken(f"{where}: {said}; check CALLTAPE_KAFKA_USERNAME, its rights and CALLTAPE_KAFKA_TLS")
    if isinstance(error, _MISCONFIGURED):
        return LogBroken(f"{where}: {said}; check CALLTAPE_KAFKA_SESSION against group.min.session.timeout.ms")
    if isinstance(error, _DAMAGED):
        return LogBroken(f"{where}: {said}; the data or the broker's version cannot be used")
    if isinstance(error, errors.KafkaConnectionError):
        # It names sockets and address families: what matters is that none of the addresses led to a broker.
        return LogUnavailable(f"{where}: no broker answers; {_LOOK}")
    # Leaders and coordinators that move, brokers that are away, groups that rebalance: it passes. So does a topic
    # that a restarting broker does not know yet; those that do not exist were noticed when the log was opened.
    return LogUnavailable(f"{where}: {said}")


def otherwise_sized(topic: Topic, partitions: int) -> str:
    """What to do about a topic with so many partitions."""
    return (
        f"has {partitions} partitions and should have {topic.partitions}: the number never changes for a topic, so set"
        f" {topic.sized_by}={partitions} if it is this log's, or another CALLTAPE_KAFKA_PREFIX if it is not"
    )
