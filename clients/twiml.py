"""Reads TwiML into the verbs a carrier obeys, noting what the real one would complain about."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from clients.strict import Violation

UNKNOWN_VERB = 12200
NOT_WSS = 31922
# The carrier says nothing and does something else; a tool for tests says it.
SILENT = 0

_PARAMETER_LIMIT = 500


class TwimlError(ValueError):
    """A document that cannot be obeyed at all (error 12100): the call ends."""


@dataclass(frozen=True, slots=True)
class Callback:
    """Where to report to, and how."""

    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class ConnectStream:
    url: str
    name: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    status_callback: Callback | None = None
    action: Callback | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class SayWords:
    text: str


@dataclass(frozen=True, slots=True)
class Pause:
    length_s: int = 1


@dataclass(frozen=True, slots=True)
class Dial:
    """The call is transferred: to whom stands in the text of the verb or of its nouns."""

    target: str


@dataclass(frozen=True, slots=True)
class HangupCall:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str = "rejected"


Verb = ConnectStream | Redirect | SayWords | Pause | Dial | HangupCall | Reject


@dataclass(frozen=True, slots=True)
class Document:
    verbs: tuple[Verb, ...]
    violations: tuple[Violation, ...] = ()


def parse_twiml(text: str, *, plain: bool = False) -> Document:
    """The verbs of a document; `plain` allows ws:// too, for a server without TLS. Raises TwimlError."""
    if "<!DOCTYPE" in text:
        raise TwimlError("TwiML with a DOCTYPE; send <Response> alone")
    try:
        root = ET.fromstring(text.strip())  # noqa: S314 - without a DOCTYPE there are no entities to expand
    except ET.ParseError as error:
        raise TwimlError(f"TwiML is not XML ({error}); it began {text[:80]!r}") from error
    if root.tag != "Response":
        raise TwimlError(f"TwiML must be a <Response>, got <{root.tag}>")
    violations: list[Violation] = []
    verbs = [verb for element in root if (verb := _verb(element, violations, plain)) is not None]
    return Document(tuple(verbs), tuple(violations))


def _verb(element: ET.Element, violations: list[Violation], plain: bool) -> Verb | None:
    words = (element.text or "").strip()
    match element.tag:
        case "Connect":
            return _connect(element, violations, plain)
        case "Redirect":
            return Redirect(words, element.get("method", "POST").upper())
        case "Say":
            return SayWords(words)
        case "Pause":
            return _pause(element, violations)
        case "Dial":
            return Dial(words or " ".join("".join(noun.itertext()).strip() for noun in element))
        case "Hangup":
            return HangupCall()
        case "Reject":
            return Reject(element.get("reason", "rejected"))
        case unknown:
            violations.append(Violation(UNKNOWN_VERB, f"<{unknown}> is no verb this carrier knows; it is skipped"))
            return None


def _pause(element: ET.Element, violations: list[Violation]) -> Pause | None:
    length = element.get("length", "1")
    if not length.isdecimal():
        violations.append(Violation(UNKNOWN_VERB, f"<Pause length={length!r}> must be whole seconds"))
        return None
    return Pause(int(length))


def _connect(element: ET.Element, violations: list[Violation], plain: bool) -> ConnectStream | None:
    nouns = list(element)
    if len(nouns) != 1 or nouns[0].tag != "Stream":
        found = [noun.tag for noun in nouns]
        violations.append(Violation(UNKNOWN_VERB, f"<Connect> must hold exactly one <Stream>, got {found}"))
        return None
    stream = nouns[0]
    url = _stream_url(stream.get("url", ""), violations, plain)
    if url is None:
        return None
    return ConnectStream(
        url=url,
        name=stream.get("name", ""),
        parameters=tuple(_parameters(stream, violations)),
        status_callback=_callback(stream, "statusCallback", "statusCallbackMethod"),
        action=_callback(element, "action", "method"),
    )


def _callback(element: ET.Element, url: str, method: str) -> Callback | None:
    target = element.get(url)
    return Callback(target, element.get(method, "POST").upper()) if target else None


def _stream_url(url: str, violations: list[Violation], plain: bool) -> str | None:
    parts = urlsplit(url)
    relative = not parts.scheme and not parts.netloc and parts.path.startswith("/")
    if parts.scheme != "wss" and not relative and not (plain and parts.scheme == "ws"):
        violations.append(Violation(NOT_WSS, f"<Stream url={url!r}> must be wss://"))
        return None
    if parts.query:
        violations.append(Violation(SILENT, "<Stream url> has a query string, which never arrives; use <Parameter>"))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def _parameters(stream: ET.Element, violations: list[Violation]) -> list[tuple[str, str]]:
    parameters = []
    for child in stream:
        name, value = child.get("name"), child.get("value")
        if child.tag != "Parameter" or name is None or value is None:
            violations.append(Violation(UNKNOWN_VERB, f"<Stream> holds <{child.tag}> that is no named <Parameter>"))
        elif len(name) + len(value) >= _PARAMETER_LIMIT:
            violations.append(
                Violation(SILENT, f"<Parameter name={name[:40]!r}> with its value reaches 500 characters")
            )
        else:
            parameters.append((name, value))
    return parameters
