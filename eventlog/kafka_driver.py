"""What calltape asks of aiokafka: how to connect, and its errors in our words. Nobody else translates them."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Iterator
from typing import Any

from aiokafka import errors

from eventlog.kafka_tuning import KafkaTuning
from eventlog.port import EntryTooLarge, LogBroken, LogClosed, LogError, LogUnavailable


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


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Errors of the driver become those of the port. `where` says what was asked of which brokers."""
    try:
        yield
    except LogError:
        raise
    except TimeoutError as error:
        raise LogUnavailable(f"{where}: no answer in time") from error
    except (errors.KafkaError, errors.ConsumerStoppedError, OSError) as error:
        raise our_error(error, where) from error


def our_error(error: BaseException, where: str) -> LogError:
    """The port's word for what the driver said."""
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
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
    # Leaders and coordinators that move, brokers that are away, groups that rebalance: it passes. So does a topic
    # that a restarting broker does not know yet; those that do not exist were noticed when the log was opened.
    return LogUnavailable(f"{where}: {said}")
