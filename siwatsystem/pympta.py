"""The Python face of pipelines: `load_pipeline_from_zip` and `run_pipeline`.

What `load_pipeline_from_zip` returns is a plain dict with the keys of pipeline.json, to which
`run_pipeline` finds the loaded pipeline; any nested branch of it can be run on its own as well.
"""

import atexit
import hashlib
import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from siwatsystem import archive
from siwatsystem.actions.base import OutboxEvent
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import Target
from siwatsystem.config import ModelSettings, OutboxSettings, RuntimeSettings
from siwatsystem.cores import usable_cores
from siwatsystem.embedded.servers import EmbeddedServers
from siwatsystem.errors import ModelInvalid, SiwatError
from siwatsystem.frames import Image
from siwatsystem.model_registry import default_registry
from siwatsystem.pipeline.events import EventContext
from siwatsystem.pipeline.executor import Pipeline
from siwatsystem.pipeline.node import Node
from siwatsystem.pipeline.opening import OpenPipeline, open_pipeline
from siwatsystem.pipeline.state import PipelineState
from siwatsystem.signatures import Trust

log = logging.getLogger(__name__)

MOST_CAMERAS = 1000
FLUSH_SEC = 30.0
"""Longest that `run_pipeline` waits for its actions; what is not done then goes on by itself."""


class NodeDict(dict[str, Any]):
    """A node with the keys of its JSON; remembers the pipeline that runs it."""

    pipeline: Pipeline
    states: "_States"
    outbox: "_LateOutbox"
    hold: "_Hold"


class _LateOutbox:
    """The outbox of a folder, opened for the first server that an archive names.

    An archive without servers needs none, and several processes may then share a folder.
    """

    def __init__(self, open_it: Callable[[], Outbox]) -> None:
        self._open = open_it
        self._outbox: Outbox | None = None

    def register(self, target: Target) -> str:
        self._outbox = self._outbox or self._open()
        return self._outbox.register(target)

    def release(self, key: str) -> None:
        if self._outbox is not None:
            self._outbox.release(key)

    def submit(self, event: OutboxEvent) -> None:
        if self._outbox is not None:
            self._outbox.submit(event)

    def flush(self, event_id: str, timeout: float) -> bool:
        return self._outbox is None or self._outbox.flush(event_id, timeout)


class _States:
    """What one node remembers, by camera: tracks of different cameras have nothing to do with each other.

    Of more cameras than `MOST_CAMERAS` those that were not asked about for longest are forgotten.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._by_camera: OrderedDict[str, PipelineState] = OrderedDict()

    def of(self, camera_id: str) -> PipelineState:
        forgotten: list[tuple[str, PipelineState]] = []
        with self._lock:
            state = self._by_camera.setdefault(camera_id, PipelineState())
            self._by_camera.move_to_end(camera_id)
            if len(self._by_camera) > MOST_CAMERAS:
                forgotten.append(self._by_camera.popitem(last=False))
        self._finish(forgotten)
        return state

    def finish(self) -> None:
        """Send what waits for votes: no more pictures come."""
        with self._lock:
            left = list(self._by_camera.items())
            self._by_camera.clear()
        self._finish(left)

    def _finish(self, states: list[tuple[str, PipelineState]]) -> None:
        for camera_id, state in states:
            self._pipeline.finish(state, EventContext(camera_id=camera_id))


class _Hold:
    """Shared by all nodes of an archive: when the last of them is gone, its models are given back."""

    def __init__(self) -> None:
        self.states: list[_States] = []


def _give_back(states: list[_States], opened: OpenPipeline) -> None:
    for state in states:
        state.finish()
    opened.close()


class _Surroundings:
    """What pipelines opened here share: an outbox and embedded servers per folder, branch threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outboxes: dict[Path, Outbox] = {}
        self._embedded: dict[Path, EmbeddedServers] = {}
        self.threads = ThreadPoolExecutor(max(4, usable_cores()), thread_name_prefix="branch")
        atexit.register(self.close)

    def outbox(self, folder: Path) -> Outbox:
        with self._lock:
            if folder not in self._outboxes:
                servers = self._embedded[folder] = EmbeddedServers(folder)
                path = folder / "outbox.sqlite"
                self._outboxes[folder] = Outbox(OutboxSettings(), path, embedded=servers)
            return self._outboxes[folder]

    def close(self) -> None:
        with self._lock:
            for outbox in self._outboxes.values():
                outbox.close()
            for servers in self._embedded.values():
                servers.close()
            self._outboxes.clear()
            self._embedded.clear()
        self.threads.shutdown(wait=False, cancel_futures=True)


_surroundings: _Surroundings | None = None
_surroundings_lock = threading.Lock()


def load_pipeline_from_zip(zip_source: str | Path, target_dir: str | Path) -> dict[str, Any] | None:
    """Open an archive (a path or a `file://` URL); it is unpacked below `target_dir`, by digest.

    Returns the root node as a dict with the keys of its JSON and nested `branches`, each of which
    `run_pipeline` takes; None on failure, which is logged.
    """
    try:
        return _load(_local(zip_source), Path(target_dir))
    except (SiwatError, OSError) as error:
        log.error("the archive could not be opened: %s", error)
        return None
    except Exception:
        # The promise is None whatever happened; the log has the reason.
        log.exception("the archive could not be opened")
        return None


def run_pipeline(
    frame: Image,
    node: Mapping[str, Any],
    return_bbox: bool = False,
    context: Mapping[str, Any] | None = None,
) -> Any:
    """Run a node on a picture (H×W×3 BGR, 8 bits).

    Returns `{class, confidence, id, bbox, branch_results, session_id}` of the most confident event,
    or None; with `return_bbox` that and the box `[x1, y1, x2, y2]`. `context` may hold `camera_id`,
    `display_id`, `session_id` and `captured_at` (seconds, default now); a node that tracks follows
    what it sees from call to call of the same `camera_id`. Returns once the
    actions were delivered, or are safe on disk
    because a server is away. Never raises.
    """
    try:
        result = _run(frame, node, context or {})
    except Exception:
        # The promise is not to raise; a frame that cannot be analysed has no result.
        log.exception("the pipeline failed")
        result = None
    if not return_bbox:
        return result
    return (None, None) if result is None else (result, result["bbox"])


def _load(source: Path, target: Path) -> NodeDict:
    folder = _unpacked(source, target.absolute())
    Trust().check(folder)
    shared = _shared()
    outbox = _LateOutbox(lambda: shared.outbox(target.absolute()))
    # A caller who loads by hand means to get the reference's results.
    settings = RuntimeSettings(precision="exact")
    opened = open_pipeline(folder, default_registry(), outbox, shared.threads, settings)
    hold = _Hold()
    weakref.finalize(hold, _give_back, hold.states, opened)
    return _as_dict(opened.pipeline.spec.pipeline, opened.pipeline, outbox, hold)


def _unpacked(source: Path, target: Path) -> Path:
    """The archive's folder, from an earlier time if it is the same archive."""
    with source.open("rb") as file:
        folder = target / hashlib.file_digest(file, "sha256").hexdigest()[:32]
    if folder.is_dir():
        return folder
    try:
        return archive.extract(source, folder, ModelSettings())
    except OSError:
        # Another thread or process may have been faster: the same digest, the same files.
        if folder.is_dir():
            return folder
        raise


def _as_dict(node: Node, pipeline: Pipeline, outbox: _LateOutbox, hold: _Hold) -> NodeDict:
    found = NodeDict(node.model_dump(by_alias=True, mode="json", exclude_unset=True))
    found["branches"] = [_as_dict(branch, pipeline, outbox, hold) for branch in node.branches]
    found.pipeline = pipeline.rooted_at(node)
    found.states = _States(found.pipeline)
    hold.states.append(found.states)
    found.outbox = outbox
    found.hold = hold
    return found


def _run(frame: Image, node: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any] | None:
    if not isinstance(node, NodeDict):
        raise ModelInvalid("run_pipeline takes a node that load_pipeline_from_zip returned")
    captured_at = context.get("captured_at")
    event_context = EventContext(
        camera_id=str(context.get("camera_id") or "unknown"),
        display_id=str(context.get("display_id") or "unknown"),
        session_id=context.get("session_id"),
        captured_at=time.time() if captured_at is None else float(captured_at),
    )
    submitted: list[str] = []
    state = node.states.of(event_context.camera_id)
    events = node.pipeline.run(frame, event_context, state=state, submitted=submitted)
    deadline = time.monotonic() + FLUSH_SEC
    for event_id in submitted:
        if not node.outbox.flush(event_id, max(0.1, deadline - time.monotonic())):
            log.warning("the actions of a frame are still on their way")
    return events[0].as_dict() if events else None


def _local(source: str | Path) -> Path:
    text = str(source)
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ModelInvalid("an archive is opened from a path or a file:// URL")
    return Path(unquote(parts.path))


def _shared() -> _Surroundings:
    global _surroundings
    with _surroundings_lock:
        if _surroundings is None:
            _surroundings = _Surroundings()
        return _surroundings
