from siwatsystem.messages import encode
from siwatsystem.patches import Patches


def to(connection: int | None):
    return lambda display: connection


def car(patches: Patches, connection: int | None = 1, now: float = 0) -> dict[object, dict[str, object]]:
    return {
        message.session_id: message.data.current_car.model_dump(by_alias=True, exclude_unset=True)
        for _, message in patches.due(to(connection), now)
    }


def test_newest_values_of_a_session_are_one_message():
    patches = Patches(3600)
    patches.late("d", 7, {"carBrand": "Aster", "carBrandConfidence": 0.9, "class": "Car"}, 10, 0)
    patches.late("d", 7, {"carBrand": "Borel", "bodyType": "SUV"}, 12, 0)
    patches.late("d", 7, {"carBrand": "Old"}, 11, 0)
    (number, message), *rest = patches.due(to(3), 1)
    assert (number, rest) == (3, [])
    assert encode(message) == (
        '{"type":"patchSession","sessionId":7,"data":{"currentCar":{"carBrand":"Borel","bodyType":"SUV"}}}'
    )


def test_only_keys_of_the_session_are_patched():
    patches = Patches(3600)
    patches.late("d", 7, {"plateColor": "red", "class": "Car", "carModel": None}, 10, 0)
    assert len(patches) == 0


def test_the_year_is_a_number():
    patches = Patches(3600)
    patches.late("d", 7, {"carYear": "2021"}, 1, 0)
    patches.late("e", 8, {"carYear": "new"}, 1, 0)
    assert car(patches) == {7: {"carYear": 2021}}


def test_without_a_backend_it_waits_but_not_for_ever():
    patches = Patches(keep_sec=100)
    patches.late("d", 7, {"carBrand": "Aster"}, 1, 0)
    assert car(patches, None, 99) == {}
    assert car(patches, 1, 99) == {7: {"carBrand": "Aster"}}
    patches.lost(1)
    assert car(patches, 1, 101) == {}
    assert len(patches) == 0


def test_what_was_not_answered_is_sent_again_under_what_is_newer():
    patches = Patches(3600)
    patches.late("d", 7, {"carBrand": "Aster", "bodyType": "SUV"}, 1, 0)
    assert car(patches) == {7: {"carBrand": "Aster", "bodyType": "SUV"}}
    patches.late("d", 7, {"carBrand": "Borel"}, 2, 0)
    assert car(patches) == {}
    patches.lost(1)
    assert car(patches, 2) == {7: {"carBrand": "Borel", "bodyType": "SUV"}}


def test_an_answer_ends_it_and_lets_the_next_go():
    patches = Patches(3600)
    patches.late("d", 7, {"carBrand": "Aster"}, 1, 0)
    car(patches)
    assert not patches.answered(2, 7, True)
    assert not patches.answered(1, 8, True)
    patches.late("d", 7, {"bodyType": "SUV"}, 2, 0)
    assert patches.answered(1, 7, False)
    assert not patches.answered(1, 7, True)
    assert car(patches) == {7: {"bodyType": "SUV"}}
    assert patches.answered(1, 7, True)
    assert len(patches) == 0


def test_the_number_of_sessions_is_bounded_oldest_go():
    patches = Patches(3600, max_sessions=2)
    for number in range(4):
        patches.late("d", number, {"carBrand": "Aster"}, number, 0)
    assert set(car(patches)) == {2, 3}
