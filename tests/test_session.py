import json

from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.config import WebSocketSettings
from siwatsystem.messages import ErrorMessage, RequestState
from siwatsystem.session import Answer, Apply, Close, Conversation


def conversation(**limits: object) -> Conversation:
    return Conversation(WebSocketSettings.model_validate(limits))


def code_of(effect: object) -> str:
    assert isinstance(effect, Answer)
    assert isinstance(effect.message, ErrorMessage)
    return effect.message.code


def test_a_command_is_applied():
    assert conversation().receive('{"type": "requestState"}', 0) == [Apply(RequestState())]


def test_what_a_message_says_never_closes():
    talk = conversation()
    for text in ("{", "[]", '{"type": 5}', '{"type": "x"}', '{"type": "subscribe"}', b"\xff"):
        effects = talk.receive(text, 0)
        assert len(effects) == 1
        code_of(effects[0])


def test_a_refused_subscribe_names_its_subscription():
    text = json.dumps({"type": "subscribe", "payload": {"subscriptionIdentifier": "d;c", "modelId": 1}})
    (answer,) = conversation().receive(text, 0)
    assert isinstance(answer, Answer)
    assert isinstance(answer.message, ErrorMessage)
    assert answer.message.subscription_identifier == "d;c"
    assert "modelUrl" in answer.message.error


def test_too_many_messages_close_and_nothing_comes_after():
    talk = conversation(rate_per_sec=10, burst=3)
    for _ in range(3):
        assert isinstance(talk.receive('{"type": "requestState"}', 0)[0], Apply)
    assert talk.receive('{"type": "requestState"}', 0) == [Close(1008, "too many messages a second")]
    assert talk.receive('{"type": "requestState"}', 99) == []


def test_the_rate_is_for_long_and_the_burst_for_once():
    talk = conversation(rate_per_sec=10, burst=2)
    for second in range(50):
        assert isinstance(talk.receive('{"type": "requestState"}', second / 10)[0], Apply)


def test_a_flood_of_bad_messages_is_answered_then_closed():
    talk = conversation(errors_per_sec=1, error_burst=5)
    for _ in range(5):
        assert len(talk.receive("{", 0)) == 1
    answer, close = talk.receive("{", 0)
    assert code_of(answer) == "invalid_json"
    assert close == Close(1008, "too many bad messages a second")


def test_a_message_that_is_too_large_closes():
    assert conversation(max_message_kb=1).receive("x" * 1025, 0)[0] == Close(
        1009, "a message may have 1 KiB at most"
    )


def test_depth_bombs_are_answered_not_parsed():
    for text in ("[" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000):
        assert code_of(conversation().receive(text, 0)[0]) == "invalid_json"


def test_brackets_in_strings_are_no_depth():
    text = json.dumps({"type": "patchSession", "sessionId": 1, "data": {"qrCode": "[{" * 100 + '"\\'}})
    assert isinstance(conversation().receive(text, 0)[0], Apply)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)
KINDS = st.sampled_from(
    ["subscribe", "unsubscribe", "requestState", "setSessionId", "patchSession", "patchSessionResult"]
)


@given(st.text() | st.binary())
def test_no_text_is_too_strange(text: str | bytes):
    assert conversation().receive(text, 0)


@given(KINDS, JSON)
def test_no_payload_is_too_strange(kind: str, payload: object):
    talk = conversation()
    for body in ({"type": kind, "payload": payload}, {"type": kind, "sessionId": payload, "data": payload}):
        (effect,) = talk.receive(json.dumps(body), 0)
        assert isinstance(effect, Apply | Answer)
