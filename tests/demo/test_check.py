"""The judge of the demo must be able to say no."""

from demo.check import LEAST_DETECTIONS, Tally

TRUTH = {"d1;pump": {("Aster", "SUV"), ("Borel", "Sedan")}}


def detection(brand: str | None, body: str | None, identifier: str = "d1;pump") -> dict[str, object]:
    seen = {"class": "Car", "confidence": 0.9}
    seen |= {key: value for key, value in (("carBrand", brand), ("bodyType", body)) if value}
    return {"type": "imageDetection", "subscriptionIdentifier": identifier, "data": {"detection": seen}}


def tally(*messages: dict[str, object]) -> Tally:
    result = Tally(TRUTH)
    for message in messages:
        result.take(message)
    return result


def test_enough_right_detections_satisfy():
    assert tally(*[detection("Aster", "SUV")] * LEAST_DETECTIONS).missing() == []


def test_silence_does_not():
    assert tally().missing() == ["d1;pump: 0 detections with brand and body type"]


def test_cars_without_brand_do_not_count():
    assert tally(*[detection(None, "SUV")] * 50).missing() != []


def test_brand_of_one_car_with_the_body_of_another_is_wrong():
    assert tally(*[detection("Aster", "Sedan")] * 50).missing() != []


def test_the_cars_of_another_camera_do_not_count():
    assert tally(*[detection("Aster", "SUV", "d2;other")] * 50).missing() != []


def test_errors_are_kept_and_their_end_is_none():
    told = tally(
        {"type": "error", "code": "stream_lost", "error": "gone"},
        {"type": "error", "code": "stream_lost", "error": "back", "resolved": True},
    )
    assert told.errors == ["stream_lost: gone"]
