"""TwiML is read as the carrier reads it."""

import pytest
from twilio.twiml.voice_response import VoiceResponse  # type: ignore[import-untyped, unused-ignore]

from clients.twiml import (
    NOT_WSS,
    SILENT,
    UNKNOWN_VERB,
    Callback,
    ConnectStream,
    Dial,
    HangupCall,
    Pause,
    Redirect,
    Reject,
    SayWords,
    TwimlError,
    parse_twiml,
)


def stream(url: str) -> str:
    return f'<Response><Connect><Stream url="{url}"/></Connect></Response>'


def test_what_the_vendors_library_writes_is_read() -> None:
    response = VoiceResponse()
    connect = response.connect(action="/twilio/after")
    noun = connect.stream(url="wss://h/ws/t", name="s", status_callback="/twilio/stream-status")
    noun.parameter(name="k", value="v")
    response.say("bye & thanks")
    response.pause(length=2)
    response.dial("+1555")
    response.redirect("/twilio/voice?resume=1", method="POST")
    response.reject(reason="busy")
    response.hangup()
    document = parse_twiml(str(response))
    assert document.violations == ()
    assert document.verbs == (
        ConnectStream("wss://h/ws/t", "s", (("k", "v"),), Callback("/twilio/stream-status"), Callback("/twilio/after")),
        SayWords("bye & thanks"),
        Pause(2),
        Dial("+1555"),
        Redirect("/twilio/voice?resume=1"),
        Reject("busy"),
        HangupCall(),
    )


def test_a_query_string_is_stripped_and_noted() -> None:
    document = parse_twiml(stream("wss://h/ws?token=1"))
    assert document.verbs == (ConnectStream("wss://h/ws"),)
    assert [violation.code for violation in document.violations] == [SILENT]


def test_ws_is_refused_unless_the_server_has_no_tls() -> None:
    assert [violation.code for violation in parse_twiml(stream("ws://h/ws")).violations] == [NOT_WSS]
    assert parse_twiml(stream("ws://h/ws"), plain=True).verbs == (ConnectStream("ws://h/ws"),)


def test_a_relative_stream_is_allowed() -> None:
    assert parse_twiml(stream("/ws/t")).verbs == (ConnectStream("/ws/t"),)


@pytest.mark.parametrize(("size", "kept"), [(498, True), (499, False)])
def test_a_parameter_of_500_characters_is_too_long(size: int, kept: bool) -> None:
    parameter = f'<Parameter name="k" value="{"v" * size}"/>'
    document = parse_twiml(f'<Response><Connect><Stream url="wss://h/">{parameter}</Stream></Connect></Response>')
    assert isinstance(document.verbs[0], ConnectStream)
    assert (len(document.verbs[0].parameters) == 1) is kept
    assert (document.violations == ()) is kept


def test_an_unknown_verb_is_skipped_and_noted() -> None:
    document = parse_twiml("<Response><Sing>la</Sing><Hangup/></Response>")
    assert document.verbs == (HangupCall(),)
    assert [violation.code for violation in document.violations] == [UNKNOWN_VERB]


@pytest.mark.parametrize("text", ["", "not xml", "<Reply/>", "<!DOCTYPE x><Response/>", "<Response>"])
def test_what_is_no_twiml_is_refused(text: str) -> None:
    with pytest.raises(TwimlError):
        parse_twiml(text)
