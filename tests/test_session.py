import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siwatsystem.config import WebSocketSettings
from siwatsystem.messages import ErrorMessage, RequestState, encode
from siwatsystem.session import Answer, Apply, Close, Conversation, TokenBucket

STATE = '{"type": "requestState"}'


def conversation(**settings: float) -> Conversation:
    return Conversation(WebSocketSettings.model_validate(settings))


def refused(text: str | bytes) -> ErrorMessage:
    (effect,) = conversation().receive(text, 0)
    assert isinstance(effect, Answer)
    assert isinstance(effect.message, ErrorMessage)
    return effect.message


def test_a_command_is_to_be_applied():
    assert conversation().receive(STATE, 0) == [Apply(RequestState())]


def test_a_bad_message_is_answered_and_the_next_one_is_taken():
    talk = conversation()
    (effect,) = talk.receive("{", 0)
    assert isinstance(effect, Answer)
    assert talk.receive(STATE, 0) == [Apply(RequestState())]


def test_a_binary_message_is_not_json_text():
    assert refused(STATE.encode()).code == "invalid_json"


def test_a_refused_subscription_is_named():
    text = json.dumps({"type": "subscribe", "payload": {"subscriptionIdentifier": "d;c"}})
    message = json.loads(encode(refused(text)))
    assert message["code"] == "invalid_message"
    assert message["subscriptionIdentifier"] == "d;c"
    assert "cameraIdentifier" not in message
    assert refused(text.replace("subscribe", "dance")).subscription_identifier == "d;c"


def test_the_first_generation_hears_both_names():
    text = json.dumps({"type": "subscribe", "payload": {"cameraIdentifier": "cam"}})
    message = json.loads(encode(refused(text)))
    assert (message["subscriptionIdentifier"], message["cameraIdentifier"]) == ("cam", "cam")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"type": "subscribe"}',
        '{"type": "subscribe", "payload": []}',
        '{"type": "subscribe", "payload": {"subscriptionIdentifier": 5}}',
        '{"type": "subscribe", "payload": {"subscriptionIdentifier": ""}}',
        json.dumps({"type": "subscribe", "payload": {"subscriptionIdentifier": "x" * 257}}),
    ],
)
def test_what_cannot_be_named_is_not(text: str):
    assert refused(text).subscription_identifier is None


def test_too_large_a_message_ends_it():
    talk = conversation(max_message_kb=1)
    assert talk.receive('"' + "x" * 1022 + '"', 0)[0] != Close(1009, "a message may have 1 KiB at most")
    assert talk.receive("x" * 1025, 0) == [Close(1009, "a message may have 1 KiB at most")]
    assert talk.receive(STATE, 1) == []


def test_bytes_count_not_characters():
    assert isinstance(conversation(max_message_kb=1).receive("é" * 513, 0)[0], Close)


def test_too_deep_a_message_is_answered_and_ends_it():
    talk = conversation()
    answer, close = talk.receive("[" * 200 + "]" * 200, 0)
    assert isinstance(answer, Answer)
    assert isinstance(answer.message, ErrorMessage)
    assert answer.message.code == "invalid_json"
    assert isinstance(close, Close)
    assert close.code == 1008
    assert talk.receive(STATE, 1) == []


def test_too_many_messages_end_it():
    talk = conversation(rate_per_sec=10, burst=20)
    for _ in range(20):
        assert talk.receive(STATE, 0) == [Apply(RequestState())]
    for tenth in range(1, 100):
        assert talk.receive(STATE, tenth * 0.11) == [Apply(RequestState())]
    closed = [talk.receive(STATE, 10.89) for _ in range(30)]
    (close,) = [effects[0] for effects in closed if effects and isinstance(effects[0], Close)]
    assert isinstance(close, Close)
    assert close.code == 1008
    assert talk.receive(STATE, 1000) == []


def test_a_large_message_counts_as_several():
    large = json.dumps({"type": "patchSession", "sessionId": 1, "data": {"qrCode": "x" * 40_000}})
    talk = conversation(rate_per_sec=1, burst=25)
    kinds = [type(effect) for _ in range(3) for effect in talk.receive(large, 0)]
    assert kinds == [Apply, Apply, Close]
    assert isinstance(conversation(rate_per_sec=1, burst=1).receive(large, 0)[0], Apply)


def test_a_flood_of_bad_json_gets_an_error_each_and_then_the_end():
    talk = conversation()
    effects = [effect for n in range(60_000) for effect in talk.receive("{", n / 1000)]
    answers, last = effects[:-1], effects[-1]
    assert all(isinstance(effect, Answer) for effect in answers)
    settings = WebSocketSettings()
    assert settings.error_burst <= len(answers) <= 2 * settings.error_burst
    assert last == Close(1008, "too many bad messages a second")


def test_every_reason_fits_into_a_close_frame():
    longest = [
        *conversation(max_message_kb=1).receive("x" * 2000, 0),
        *conversation().receive("[" * 200 + "]" * 200, 0),
        *conversation(burst=1, rate_per_sec=1e-9).receive(STATE, 0),
    ]
    assert all(len(effect.reason.encode()) <= 123 for effect in longest if isinstance(effect, Close))


@given(
    st.lists(st.text(max_size=30) | st.binary(max_size=30) | st.just(STATE), max_size=60),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_whatever_comes_every_message_has_an_effect_until_the_end(
    texts: list[str | bytes], burst: int, error_burst: int
):
    talk = conversation(burst=burst, error_burst=error_burst)
    over = False
    for number, text in enumerate(texts):
        effects = talk.receive(text, number / 100)
        assert bool(effects) is not over
        over = over or any(isinstance(effect, Close) for effect in effects)


@given(st.lists(st.floats(0, 5), max_size=200), st.floats(0.5, 20), st.integers(1, 20))
def test_a_bucket_never_lets_more_through_than_burst_and_rate(pauses: list[float], rate: float, burst: int):
    bucket, now, passed = TokenBucket(rate, burst), 100.0, 0
    for pause in pauses:
        now += pause
        passed += bucket.take(now)
        assert passed <= burst + rate * (now - 100.0) + 1e-6


def test_a_bucket_forgives_a_clock_that_steps_back():
    bucket = TokenBucket(1, 1)
    assert bucket.take(10)
    assert not bucket.take(5)
    assert bucket.take(6.5)
