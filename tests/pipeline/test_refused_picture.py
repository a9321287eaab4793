"""What is no picture at all is refused, and costs nothing that comes after it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from siwatsystem.detections import Detection
from siwatsystem.pipeline.events import EventContext
from siwatsystem.testing import FakeModel, fake_pipeline


def test_a_pipeline_is_idle_again_after_what_was_no_picture():
    with ThreadPoolExecutor(1):
        pipeline = fake_pipeline(FakeModel((Detection("Car", 0.9, (1, 2, 11, 12)),), ["Car"]))
        with pytest.raises(Exception, match=r".+"):
            pipeline.run(None, EventContext())  # type: ignore[arg-type]
        assert pipeline.wait_idle(0.1)
