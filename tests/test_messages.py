import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siwatsystem import messages
from siwatsystem.errors import InvalidJson, InvalidMessage, SiwatError, TooDeep, UnknownType
from siwatsystem.messages import Subscribe, Unsubscribe, decode, encode

PAYLOAD: dict[str, Any] = {
    "subscriptionIdentifier": "display-001;cam-001",
    "rtspUrl": "rtsp://camera/stream",
    "modelUrl": "http://models/cars.mpta",
    "modelName": "Cars",
    "modelId": 101,
}
SECRET = "rtsp://user:secret@camera/stream"


def subscribe(**fields: Any) -> messages.SubscribePayload:
    command = decode(json.dumps({"type": "subscribe", "payload": {**PAYLOAD, **fields}}))
    assert isinstance(command, Subscribe)
    return command.payload


def refusal(**fields: Any) -> str:
    with pytest.raises(InvalidMessage) as caught:
        subscribe(**fields)
    return caught.value.message


def test_the_types_are_those_of_the_models():
    models = get_args(get_args(messages.Command)[0])
    assert tuple(model.model_fields["type"].default for model in models) == messages.COMMAND_TYPES


def test_a_whole_subscription_is_read():
    payload = subscribe(cropX1=1, cropY1=2, cropX2=3, cropY2=4)
    assert payload.subscription_identifier == "display-001;cam-001"
    assert payload.rtsp_url == "rtsp://camera/stream"
    assert payload.model_id == 101
    assert payload.crop == (1, 2, 3, 4)
    assert not payload.legacy


def test_what_nobody_asked_for_is_ignored_and_null_is_absent():
    payload = subscribe(future=1, legacy=True, cropX1=None, snapshotUrl=None, snapshotInterval=None)
    assert not payload.legacy
    assert payload.crop is None


def test_the_first_generation_names_cameras():
    fields = {key: value for key, value in PAYLOAD.items() if key != "subscriptionIdentifier"}
    for name in ({}, {"subscriptionIdentifier": None}):
        text = json.dumps({"type": "subscribe", "payload": {**fields, **name, "cameraIdentifier": "cam-1"}})
        command = decode(text)
        assert isinstance(command, Subscribe)
        assert command.payload.subscription_identifier == "cam-1"
        assert command.payload.legacy
    both = subscribe(cameraIdentifier="cam-1")
    assert both.subscription_identifier == "display-001;cam-001"
    assert not both.legacy
    gone = decode('{"type": "unsubscribe", "payload": {"cameraIdentifier": "cam-1"}}')
    assert isinstance(gone, Unsubscribe)
    assert gone.payload.subscription_identifier == "cam-1"


def test_an_empty_address_is_none():
    payload = subscribe(rtspUrl="", snapshotUrl="http://camera/jpg", snapshotInterval=500)
    assert payload.rtsp_url is None
    assert "one of rtspUrl and snapshotUrl" in refusal(rtspUrl="")


def test_a_whole_number_may_be_written_with_a_point():
    assert subscribe(modelId=101.0).model_id == 101
    assert isinstance(subscribe(modelId=101.0).model_id, int)
    assert "modelId" in refusal(modelId=1.5)
    assert "modelId" in refusal(modelId=1e300)
    assert "modelId" in refusal(modelId=True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"subscriptionIdentifier": ""}, "subscriptionIdentifier"),
        ({"subscriptionIdentifier": "x" * 257}, "subscriptionIdentifier"),
        ({"subscriptionIdentifier": 5}, "subscriptionIdentifier"),
        ({"rtspUrl": None}, "one of rtspUrl and snapshotUrl is needed"),
        ({"rtspUrl": None, "snapshotUrl": "http://camera/jpg"}, "snapshotInterval"),
        ({"snapshotUrl": "http://camera/jpg", "snapshotInterval": 0}, "snapshotInterval"),
        ({"modelUrl": None}, "modelUrl"),
        ({"modelUrl": ""}, "modelUrl"),
        ({"modelName": None}, "modelName"),
        ({"modelName": "x" * 257}, "modelName"),
        ({"modelId": None}, "modelId"),
        ({"modelId": "x" * 257}, "modelId"),
        ({"cropX1": 1}, "all four or none"),
        ({"cropX1": 5, "cropY1": 1, "cropX2": 5, "cropY2": 2}, "cropX1 < cropX2"),
        ({"cropX1": 1, "cropY1": 3, "cropX2": 5, "cropY2": 2}, "cropY1 < cropY2"),
        ({"cropX1": 0.5, "cropY1": 1, "cropX2": 5, "cropY2": 2}, "cropX1"),
        ({"cropX1": "1", "cropY1": 1, "cropX2": 5, "cropY2": 2}, "cropX1"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], named: str):
    assert named in refusal(**fields)


def test_a_crop_may_reach_beyond_the_frame():
    crop = {"cropX1": -10, "cropY1": -10, "cropX2": 2**31 - 1, "cropY2": 5000}
    assert subscribe(**crop).crop == (-10, -10, 2**31 - 1, 5000)


def test_an_address_never_comes_back_in_a_refusal():
    assert "secret" not in refusal(rtspUrl=[SECRET])
    assert "secret" not in refusal(rtspUrl=SECRET + "x" * 5000)
    assert "secret" not in refusal(modelId={"url": SECRET})
    assert "secret" not in refusal(snapshotInterval=SECRET)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", InvalidJson, "not JSON"),
        ("{", InvalidJson, "not JSON"),
        ("[1, NaN]", InvalidJson, "not JSON"),
        ('"\\ud800"', InvalidJson, "not JSON"),
        ("[" * 33 + "]" * 33, TooDeep, "deeper than 32"),
        ('{"a":' * 33 + "1" + "}" * 33, TooDeep, "deeper than 32"),
        ("[" * 5000 + "]" * 5000, TooDeep, "deeper than 32"),
        ("[" * 5000, TooDeep, "deeper than 32"),
        ("[" * 100_000, TooDeep, "deeper than 32"),
        ("[" + "[]," * 70_000 + "1]", TooDeep, "more than 65536 arrays"),
        ("[" * 32 + "]" * 32, InvalidMessage, "JSON object"),
        ("5", InvalidMessage, "JSON object"),
        ("{}", InvalidMessage, "type: missing"),
        ('{"type": 5}', UnknownType, "type: 5"),
        ('{"type": ["subscribe"]}', UnknownType, "a list"),
        ('{"type": "dance"}', UnknownType, '"dance" is not one of subscribe'),
        ('{"type": "subscribe"}', InvalidMessage, "payload"),
        ('{"type": "subscribe", "payload": 5}', InvalidMessage, "payload"),
        ('{"type": "setSessionId", "payload": {"displayIdentifier": "d"}}', InvalidMessage, "sessionId"),
        (
            '{"type": "setSessionId", "payload": {"displayIdentifier": "d", "sessionId": true}}',
            InvalidMessage,
            "sessionId",
        ),
        ('{"type": "patchSession", "sessionId": null, "data": {}}', InvalidMessage, "sessionId"),
        ('{"type": "patchSession", "sessionId": 1, "data": []}', InvalidMessage, "data"),
    ],
)
def test_what_is_wrong_is_said(text: str, error: type[SiwatError], said: str):
    with pytest.raises(error) as caught:
        decode(text)
    assert type(caught.value) is error
    assert said in caught.value.message


def test_brackets_in_text_do_not_nest():
    command = decode(json.dumps({"type": "patchSession", "sessionId": 1, "data": {"qrCode": "[{" * 100}}))
    assert isinstance(command, messages.PatchSessionIn)


def test_brackets_side_by_side_do_not_nest():
    data = {"list": [[{}] for _ in range(1000)]}
    assert decode(json.dumps({"type": "patchSession", "sessionId": 1, "data": data}))


@pytest.mark.parametrize("session", [12345, "visit-1", None])
def test_a_session_is_a_number_a_text_or_null(session: int | str | None):
    command = decode(
        json.dumps({"type": "setSessionId", "payload": {"displayIdentifier": "d", "sessionId": session}})
    )
    assert isinstance(command, messages.SetSessionId)
    assert command.payload.session_id == session


def test_an_answer_needs_no_text():
    for extra in ({}, {"message": None}, {"message": "merged"}):
        payload = {"sessionId": 5, "success": True, **extra}
        assert decode(json.dumps({"type": "patchSessionResult", "payload": payload}))


def test_the_contract_s_messages_are_sent_as_written():
    state: dict[str, Any] = {
        "type": "stateReport",
        "cpuUsage": 70.2,
        "memoryUsage": 38.1,
        "gpuUsage": None,
        "gpuMemoryUsage": None,
        "cameraConnections": [
            {
                "subscriptionIdentifier": "display-001;cam-001",
                "modelId": 101,
                "modelName": "…",
                "online": True,
            }
        ],
    }
    assert json.loads(encode(messages.StateReport.model_validate(state))) == state
    patch = {"type": "patchSession", "sessionId": 1, "data": {"currentCar": {"carYear": 2020}}}
    assert json.loads(encode(messages.PatchSessionOut.model_validate(patch))) == patch
    error = {"type": "error", "error": "human text", "code": "model_invalid"}
    assert json.loads(encode(messages.ErrorMessage.model_validate(error))) == error


def test_the_keys_of_a_patch_are_those_of_the_backend_s_car():
    wanted = {"carModel", "carBrand", "carYear", "bodyType", "licensePlateText", "licensePlateType"}
    assert wanted == messages.CURRENT_CAR_KEYS


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


@given(
    kind=st.sampled_from([*messages.COMMAND_TYPES, "stateReport", ""]) | JSON,
    payload=st.dictionaries(st.sampled_from([*PAYLOAD, "sessionId", "displayIdentifier"]), JSON) | JSON,
    data=JSON,
)
def test_any_object_is_read_or_refused(kind: Any, payload: Any, data: Any):
    text = json.dumps({"type": kind, "payload": payload, "sessionId": data, "data": data})
    try:
        command = decode(text)
    except SiwatError as error:
        refused = error.message
    else:
        assert command.type == kind
        return
    assert len(refused) < 2000


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str):
    with pytest.raises(SiwatError):
        decode(text)
