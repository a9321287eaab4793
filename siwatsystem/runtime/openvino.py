"""OpenVINO on a CPU: IR models exported from weights, folders as exported, ONNX files on demand.

The network takes the padded picture as it is (8 bits, BGR, height × width × channels); colour order
and scaling are part of the graph. Networks of any input size are compiled anew for a few sizes (a
compiled size is up to 1.6 times as fast as an open one), and once for all others. A size that nobody
has needed for a while gives its place to the next that comes.

Each is compiled for one call on all cores, and, when several calls are first under way at a time, for
as many calls on fewer cores each (see `underway`).
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from siwatsystem.config import RuntimeSettings
from siwatsystem.cores import cores_under_quota, usable_cores
from siwatsystem.detections import Prediction
from siwatsystem.errors import ModelInvalid
from siwatsystem.frames import Image
from siwatsystem.runtime.backend import Picture, Precision
from siwatsystem.runtime.detect import Detect
from siwatsystem.runtime.metadata import Described, Metadata, Triple
from siwatsystem.runtime.postprocess import Floats
from siwatsystem.runtime.silence import silence
from siwatsystem.runtime.task import task_of
from siwatsystem.runtime.underway import Underway, share_for, shares

log = logging.getLogger(__name__)

MAX_COMPILED_SIZES = 4
UNUSED_SEC = 60.0
"""After so long without a call a size gives its place to another. Sooner, and sizes that take turns would
be compiled again and again."""
_ANY_SIZE = (-1, -1)
_USUAL_PICTURE = 1080, 1920
_DIVIDE_SEC = 10.0

_Key = tuple[tuple[int, int], int]
"""Input size and number of streams that a network is compiled for."""

UNDERWAY = Underway()
"""Calls of all models: they share one processor."""

LOAD_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, OverflowError)
"""What OpenVINO's errors become in Python while it loads a network."""


class OpenVINOBackend(Described):
    """One network on this machine's processor. `infer` may be called by a thread per core at a time."""

    runtime = "openvino"
    batch_size = 1

    def __init__(
        self, model: Path, metadata: Metadata, settings: RuntimeSettings, precision: Precision = "exact"
    ) -> None:
        """Load `model` (.xml or .onnx). Raises ModelInvalid where OpenVINO cannot."""
        silence()
        import openvino

        self.metadata = metadata
        self.precision: Precision = precision
        self.file = model
        self._core = openvino.Core()
        self._config = configuration(settings, precision)
        cores = settings.threads or usable_cores()
        # At least two, so that one prepares and reads its picture while the other computes.
        self.concurrency = max(2, cores)
        self._shares = shares(cores)
        self._task = task_of(metadata)
        self._lock = threading.Lock()
        self._compiled: dict[_Key, Any] = {}
        self._used: dict[tuple[int, int], float] = {}
        """When a compiled size was last asked for."""
        self._first: dict[_Key, Future[None]] = {}
        """Compilations that were waited for, of sizes that nothing served."""
        self._compiling: set[_Key] = set()
        self._dividing: list[threading.Thread] = []
        self._closed = False
        self._idle: dict[_Key, list[_Request]] = {}
        self._compile_first()

    def infer(self, pictures: Sequence[Picture]) -> list[Prediction]:
        """A prediction per picture. Raises RuntimeError where OpenVINO fails."""
        return [self._infer(picture) for picture in pictures]

    @property
    def shares(self) -> set[int]:
        """Into how many shares of the cores its calls have been divided so far."""
        with self._lock:
            return {streams for _, streams in self._compiled}

    def close(self) -> None:
        with self._lock:
            self._closed = True
            dividing = self._dividing
        for thread in dividing:
            thread.join(_DIVIDE_SEC)
        with self._lock:
            self._idle.clear()
            self._compiled.clear()

    def _infer(self, picture: Picture) -> Prediction:
        tensor, box = self._task.prepare(picture.image)
        with UNDERWAY.call() as calls:
            key, request = self._request(tensor.shape[:2], share_for(calls, self._shares))
            try:
                return self._task.finish(request.infer(tensor), box, picture.min_confidence)
            finally:
                with self._lock:
                    # Meanwhile it may have given its place to another size, or all may have been closed.
                    if key in self._compiled:
                        self._idle.setdefault(key, []).append(request)

    def _request(self, size: tuple[int, ...], streams: int) -> tuple[_Key, "_Request"]:
        """An idle request of a network compiled for pictures of `size`, if possible with `streams`."""
        while True:
            key = self._known(size, streams)
            with self._lock:
                if self._closed:
                    raise RuntimeError(f"{self.file.name} is closed")
                if idle := self._idle.get(key):
                    return key, idle.pop()
                if key in self._compiled:
                    return key, _Request(self._compiled[key], key[0] != _ANY_SIZE)

    def _known(self, size: tuple[int, ...], streams: int) -> _Key:
        """A network for pictures of `size` that is compiled. Who asks for a size that nothing serves yet
        waits until it is compiled, by whoever asked first; nobody else does."""
        with self._lock:
            key, other = self._wanted((size[0], size[1]), streams)
            if key in self._compiled:
                return key
            if other is not None:
                self._begin_dividing(key)
                return other
            # However many streams were wanted there: whatever comes first serves this size.
            key = next((known for known in self._first if known[0] == key[0]), key)
            first = self._first.get(key)
            mine = first is None
            if first is None:
                first = self._first[key] = Future()
        if mine:
            try:
                self._keep(key, self._compile(*key))
                first.set_result(None)
            except BaseException as error:
                # Kept: what cannot be compiled once is not tried for every frame.
                first.set_exception(error)
        first.result()
        return key

    def _wanted(self, size: tuple[int, int], streams: int) -> tuple[_Key, _Key | None]:
        """What should serve pictures of `size`, and what could meanwhile; called with the lock held."""
        sizes = {known for known, _ in (*self._compiled, *self._first)} - {_ANY_SIZE}
        full = size not in sizes and len(sizes) >= MAX_COMPILED_SIZES
        wanted = _ANY_SIZE if full and not self._give_up_unused(sizes) else size
        self._used[wanted] = time.monotonic()
        other = next((known for known in self._compiled if known[0] == wanted), None)
        return (wanted, streams), other

    def _give_up_unused(self, sizes: set[tuple[int, int]]) -> bool:
        """Make room for a size, if one of `sizes` was not used for long; called with the lock held.

        Calls under way keep what they use.
        """
        ready = sizes - {size for (size, _), first in self._first.items() if not first.done()}
        oldest = min(ready, key=lambda size: self._used.get(size, 0.0), default=None)
        if oldest is None or time.monotonic() - self._used.get(oldest, 0.0) < UNUSED_SEC:
            return False
        for kept in (self._compiled, self._first, self._idle):
            for key in [key for key in kept if key[0] == oldest]:
                del kept[key]
        self._compiling = {key for key in self._compiling if key[0] != oldest}
        self._used.pop(oldest, None)
        log.debug("%s: the size %s is given up", self.file.name, oldest)
        return True

    def _begin_dividing(self, key: _Key) -> None:
        """Have `key` compiled beside what there is; called with the lock held."""
        if key in self._compiling or key[1] not in self._shares or self._closed:
            return
        self._compiling.add(key)
        thread = threading.Thread(target=self._divide, args=(key,), name="divide", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread is to be had now
            log.warning("%s stays undivided for now: %s", self.file.name, error)
            self._compiling.discard(key)
            return
        self._dividing = [*(one for one in self._dividing if one.is_alive()), thread]

    def _keep(self, key: _Key, compiled: Any) -> None:
        with self._lock:
            # A size may have been given up while it was compiled for more streams.
            if not self._closed and key[0] in self._used:
                self._compiled[key] = compiled

    def _divide(self, key: _Key) -> None:
        """Compile `key`, while all calls are served by what there is."""
        size, streams = key
        try:
            compiled = self._compile(size, streams)
        except ModelInvalid as error:
            log.warning("%s; it stays undivided", error)
            with self._lock:
                self._shares = tuple(count for count in self._shares if count != streams)
            return
        self._keep(key, compiled)

    def _compile_first(self) -> None:
        """Compile what the first picture will most likely need, so that it does not wait."""
        size = self.metadata.input_size
        if isinstance(self._task, Detect):
            size = self._task.plan(*_USUAL_PICTURE).size
        self._compiled[size, 1] = self._compile(size, 1)
        self._used[size] = time.monotonic()

    def _compile(self, size: tuple[int, int], streams: int) -> Any:
        try:
            model = self._core.read_model(self.file)
            _check_shape(model, self.metadata, self.file.name)
            model.reshape([1, 3, *size])
            model = with_preparation(model, self.metadata.mean, self.metadata.std)
            return self._core.compile_model(model, "CPU", {**self._config, **stream_options(streams)})
        except LOAD_ERRORS as error:
            raise ModelInvalid(f"{self.file.name}: OpenVINO cannot load it ({reason(error)})") from None


class _Request:
    """One call's memory, used by one thread at a time."""

    def __init__(self, compiled: Any, static: bool) -> None:
        self._request = compiled.create_infer_request()
        # Into memory that is there anyway: handing over an array each time costs three times the Python.
        self._input: Image | None = self._request.get_input_tensor(0).data[0] if static else None

    def infer(self, picture: Image) -> Floats:
        """The network's output for its one picture; valid until the next call."""
        if self._input is None:
            self._request.start_async({0: picture[None]}, share_inputs=True)
        else:
            self._input[...] = picture
            self._request.start_async()
        self._request.wait()
        output: Floats = self._request.get_output_tensor(0).data[0]
        return output


def reason(error: Exception) -> str:
    """The line of OpenVINO's long error that says what is wrong."""
    return str(error).strip().splitlines()[-1][:200] if str(error).strip() else "no reason given"


def configuration(settings: RuntimeSettings, precision: Precision) -> dict[str, Any]:
    """The options that networks are compiled with."""
    # Left to itself OpenVINO computes in bf16 wherever the processor can: the precision is named.
    config: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32" if precision == "exact" else "bf16",
    }
    if threads := settings.threads or cores_under_quota():
        config["INFERENCE_NUM_THREADS"] = threads
    return config


def stream_options(streams: int) -> dict[str, str]:
    """The options for `streams` calls at a time, each on its share of the cores."""
    return {"PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT", "NUM_STREAMS": str(streams)}


def _check_shape(model: Any, metadata: Metadata, name: str) -> None:
    if len(model.inputs) != 1:
        raise ModelInvalid(f"{name}: has {len(model.inputs)} inputs, not one picture")
    sides = sides_of(model.inputs[0])
    if len(sides) != 4 or sides[1] not in (-1, 3):
        raise ModelInvalid(f"{name}: its input of shape {sides} is no N×3×H×W picture")
    rows = len(metadata.names) + (4 if metadata.task == "detect" else 0)
    out = sides_of(model.outputs[0])
    wanted = 3 if metadata.task == "detect" else 2
    if out and (len(out) != wanted or (out[1] not in (-1, rows) and out[-1] != 6)):
        raise ModelInvalid(f"{name}: its output of shape {out} does not fit {metadata.task} with {rows} rows")


def sides_of(port: Any) -> list[int]:
    """The shape, −1 for what is open; empty where even the number of sides is."""
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        return []
    return [-1 if side.is_dynamic else side.get_length() for side in shape]


def with_preparation(model: Any, mean: Triple, std: Triple) -> Any:
    """`model`, taking 8 bit BGR pictures (NHWC): what makes its input of them is in its graph."""
    import openvino
    from openvino.preprocess import ColorFormat, PrePostProcessor

    steps = PrePostProcessor(model)
    tensor = steps.input().tensor()
    tensor.set_element_type(openvino.Type.u8)
    tensor.set_layout(openvino.Layout("NHWC"))
    tensor.set_color_format(ColorFormat.BGR)
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    chain = steps.input().preprocess().convert_element_type(openvino.Type.f32)
    chain = chain.convert_color(ColorFormat.RGB).scale(255.0)
    if any(mean):
        chain = chain.mean(list(mean))
    if std != (1.0, 1.0, 1.0):
        chain.scale(list(std))
    steps.output(0).tensor().set_element_type(openvino.Type.f32)
    return steps.build()
