"""`sample_data.json`: instances to register, and what the test routes show and play."""

from pathlib import Path
from typing import Any

import orjson
from pydantic import Field, ValidationError

from siwatsystem.config import describe
from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.fields import Gpu, NeededPlace, StreamsCount, Wire
from siwatsystem.deepstream.rest import InstanceName
from siwatsystem.deepstream.rest_analysis import StartAnalysis
from siwatsystem.deepstream.to_server import MetricsResponse
from siwatsystem.errors import InvalidSetting

MAX_BYTES = 1024 * 1024


class SampleInstance(Wire):
    instance_id: InstanceName
    config_path: NeededPlace
    streams_count: StreamsCount | None = None
    gpu_allocated: list[Gpu] = Field(default_factory=list[int])


class Checked(Wire):
    """What is used of the file; all of it is shown."""

    deepstream_instances: list[SampleInstance] = Field(default_factory=list[SampleInstance])
    analysis_requests: list[StartAnalysis] = Field(default_factory=list[StartAnalysis])
    metrics_samples: list[MetricsResponse] = Field(default_factory=list[MetricsResponse])
    test_scenarios: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class Samples:
    """Raises InvalidSetting where something that is used is not as it must be."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        try:
            self._checked = Checked.model_validate(data)
        except ValidationError as error:
            raise InvalidSetting(f"sample data: {describe(error)}") from None

    @classmethod
    def read(cls, path: Path) -> "Samples":
        try:
            if path.stat().st_size > MAX_BYTES:
                raise InvalidSetting(f"{path}: larger than {MAX_BYTES} bytes")
            data = orjson.loads(path.read_bytes())
        except OSError as error:
            raise InvalidSetting(f"{path}: cannot be read ({error.strerror})") from None
        except orjson.JSONDecodeError as error:
            raise InvalidSetting(f"{path}: not JSON ({error})") from None
        if not isinstance(data, dict):
            raise InvalidSetting(f"{path}: must hold a JSON object")
        return cls(data)  # pyright: ignore[reportUnknownArgumentType]

    @property
    def instances(self) -> list[tuple[str, Spec]]:
        return [
            (each.instance_id, Spec(each.config_path, each.streams_count, tuple(each.gpu_allocated)))
            for each in self._checked.deepstream_instances
        ]

    @property
    def requests(self) -> list[StartAnalysis]:
        return self._checked.analysis_requests

    @property
    def metrics(self) -> list[MetricsResponse]:
        return self._checked.metrics_samples

    @property
    def scenarios(self) -> list[dict[str, Any]]:
        return self._checked.test_scenarios
