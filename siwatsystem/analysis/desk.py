"""What an analysis app has in hand: cameras that wait in slots, their files, what came of them.

The connection puts commands in and gets answers; each slot's thread takes files out and says what came
of them. One lock guards all of it, and nothing here blocks while holding it but the waiting for work.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from siwatsystem.deepstream.fields import OfCamera, Wire
from siwatsystem.deepstream.to_app import (
    InterruptAnalysis,
    PushedFile,
    PushFile,
    QueryAnalysisStatus,
    StartAnalysis,
)
from siwatsystem.deepstream.to_server import (
    AnalysisComplete,
    AnalysisInterrupted,
    AnalysisStarted,
    AnalysisStatus,
    CameraFiles,
    CameraStatus,
    FileDone,
    FileProcessing,
    FileQueued,
    ProcessingStarted,
    PushAck,
    StreamStatus,
)
from siwatsystem.wire_time import wire_time

MAX_FILES = 100_000
"""Files that wait at most, in all slots."""
MAX_CAMERAS = 1_000
"""Cameras that wait at most, in one slot."""

MAX_NAMES = 100_000
"""Letters of the names of files that wait, in one answer; beyond that only their ids are told: a server does
not read a message of any size."""

MAX_REASON = 2_000
"""Letters of what is said to be wrong."""

Model = TypeVar("Model", bound=Wire)

Fact = ProcessingStarted | FileDone | AnalysisComplete | AnalysisInterrupted
"""What happened by itself, or later than it was asked for."""


@dataclass(eq=False)
class Camera:
    """A camera in a slot."""

    start: StartAnalysis
    files: deque[PushedFile] = field(default_factory=deque[PushedFile])
    known: set[int] = field(default_factory=set[int])
    """Ids of all files that it was given."""
    closed: bool = False
    """The end mark has come."""
    current: PushedFile | None = None
    frame: int = 0
    """Of the current file: the number of the next frame. Of a live camera: frames analysed."""
    total: int | None = None
    done: dict[int, FileDone] = field(default_factory=dict[int, FileDone])
    written: dict[Path, int] = field(default_factory=dict[Path, int])
    """Which file's lines are where."""
    interrupt: InterruptAnalysis | None = None
    """What ended it before its time."""
    trouble: str | None = None
    """Why nothing comes of it just now."""

    @property
    def id(self) -> int:
        return self.start.camera_id

    @property
    def is_live(self) -> bool:
        """It has no files, and goes on until it is ended."""
        return self.start.camera_type == "videostream"


class Desk:
    """`tell` is called with what happened, in its order; it must not block. `refuses` says what is wrong with
    a camera that cannot be analysed here."""

    def __init__(
        self,
        slots: int,
        tell: Callable[[Fact], None],
        refuses: Callable[[StartAnalysis], str | None] = lambda _: None,
    ) -> None:
        self._changed = threading.Condition()
        self._slots: list[deque[Camera]] = [deque() for _ in range(slots)]
        self._tell = tell
        self._refuses = refuses
        self._waiting = 0
        self.stopped = False

    # --- commands ---------------------------------------------------------------------------------

    def start(self, asked: StartAnalysis) -> AnalysisStarted:
        def answer(status: str, reason: str | None = None) -> AnalysisStarted:
            return _of(asked, AnalysisStarted, status=status, error_reason=reason)

        if (refused := self._refuses(asked)) is not None:
            return answer("error", refused)
        with self._changed:
            slot = self._slot(asked.stream_id)
            if slot is None:
                return answer("error", f"there are {len(self._slots)} slots")
            if self.stopped:
                return answer("error", "the app is ending")
            if len(slot) >= MAX_CAMERAS:
                return answer("error", f"{MAX_CAMERAS} cameras wait in this slot")
            slot.append(Camera(asked))
            self._changed.notify_all()
            return answer("ok" if len(slot) == 1 else "queued")

    def push(self, asked: PushFile) -> tuple[PushAck, list[FileDone]]:
        """The answer, and what is told again: files that were done before."""
        again: list[FileDone] = []
        with self._changed:
            camera = self._newest(asked.stream_id, asked.camera_id)
            problem = self._refusal(camera, asked)
            if camera is not None and problem is None:
                for entry in asked.files:
                    if not isinstance(entry, PushedFile):
                        camera.closed = True
                    elif entry.file_id in camera.done:
                        again.append(camera.done[entry.file_id])
                    elif entry.file_id not in camera.known:
                        camera.known.add(entry.file_id)
                        camera.files.append(entry)
                        self._waiting += 1
                self._changed.notify_all()
        status = "ok" if problem is None else "error"
        return _of(asked, PushAck, status=status, error_reason=problem), again

    def interrupt(self, asked: InterruptAnalysis) -> AnalysisInterrupted | None:
        """The answer; None where the slot's thread gives it, once the frame under way is done."""
        with self._changed:
            camera = self._newest(asked.stream_id, asked.camera_id)
            if camera is None:
                return _of(asked, AnalysisInterrupted, status="error", error_reason="there is no such camera")
            camera.interrupt = asked
            self._waiting -= len(camera.files)
            camera.files.clear()
            self._changed.notify_all()
            slot = self._slots[asked.stream_id]
            if slot[0] is camera:
                return None
            slot.remove(camera)
            return _of(asked, AnalysisInterrupted)

    def status(self, asked: QueryAnalysisStatus) -> AnalysisStatus:
        with self._changed:
            now = timestamp()
            if asked.stream_id is None:
                waiting = (file for slot in self._slots for camera in slot for file in camera.files)
                named = sum(len(file.file_name) for file in waiting) <= MAX_NAMES
                streams = [self._stream(number, named=named) for number in range(len(self._slots))]
                return said(AnalysisStatus, request_id=asked.request_id, timestamp=now, streams=streams)
            if self._slot(asked.stream_id) is None:
                unknown = StreamStatus(stream_id=asked.stream_id, status="error")
                return said(AnalysisStatus, request_id=asked.request_id, timestamp=now, stream=unknown)
            stream = self._stream(asked.stream_id)
        if asked.camera_id is None:
            return said(AnalysisStatus, request_id=asked.request_id, timestamp=now, stream=stream)
        camera = next((one for one in stream.cameras if one.camera_id == asked.camera_id), None)
        stream_id = asked.stream_id
        return said(
            AnalysisStatus, request_id=asked.request_id, timestamp=now, stream_id=stream_id, camera=camera
        )

    def progress(self) -> list[AnalysisStatus]:
        """What is under way, in a few words each; what waits is only counted."""
        with self._changed:
            now = timestamp()
            return [
                said(
                    AnalysisStatus,
                    timestamp=now,
                    stream_id=number,
                    camera=_camera(slot[0], _state(slot[0]), brief=True),
                )
                for number, slot in enumerate(self._slots)
                if slot and (slot[0].current is not None or slot[0].is_live)
            ]

    # --- slots' threads ---------------------------------------------------------------------------

    def next_camera(self, stream_id: int) -> Camera | None:
        """Waits for one; None: the app ends."""
        slot = self._slots[stream_id]
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or bool(slot))
            return None if self.stopped else slot[0]

    def next_file(self, camera: Camera) -> PushedFile | None:
        """Waits for one; None: the camera ends, or the app."""
        with self._changed:
            self._changed.wait_for(lambda: self._ends(camera) or camera.files or camera.closed)
            if self._ends(camera) or not camera.files:
                return None
            self._waiting -= 1
            camera.current = camera.files.popleft()
            camera.frame, camera.total = 0, None
            return camera.current

    def is_ended(self, camera: Camera) -> bool:
        """Asked after each frame: whether the rest of a file, or of a live camera, is not wanted any more."""
        return self._ends(camera) or (camera.is_live and camera.closed)

    def at_live(self, camera: Camera, frames: int) -> None:
        """So many frames of a live camera were analysed."""
        with self._changed:
            camera.frame = frames

    def in_trouble(self, camera: Camera, reason: str | None) -> None:
        """Why nothing comes of it just now; None: it goes on."""
        with self._changed:
            camera.trouble = None if reason is None else reason[:MAX_REASON]

    def at_frame(self, camera: Camera, number: int, total: int | None, *, first: bool) -> None:
        """A frame was analysed, or decoded and left out; `number` is the next one's."""
        with self._changed:
            camera.frame, camera.total = number, total
            file = camera.current
            if first and file is not None:
                started = {"file_id": file.file_id, "current_file": file.file_path, "total_frames": total}
                self._tell(_of(camera.start, ProcessingStarted, **started))

    def file_done(
        self, camera: Camera, result: str, frames: int, detections: int, error: str | None = None
    ) -> None:
        """The current file has come to its end, or cannot be analysed."""
        with self._changed:
            file = camera.current
            assert file is not None
            camera.current = None
            done = _of(
                camera.start,
                FileDone,
                file_id=file.file_id,
                processed_file=result,
                frames=frames,
                detections=detections,
                error=None if error is None else error[:MAX_REASON],
            )
            camera.done[file.file_id] = done
            self._tell(done)

    def camera_done(self, camera: Camera, failed: str | None = None) -> None:
        """It has ended: by its end mark, interrupted, or `failed` says what the app stumbled over. Where the
        app ends nothing is told."""
        with self._changed:
            camera.current = None
            self._waiting -= len(camera.files)
            camera.files.clear()
            if camera.interrupt is None and self.stopped:
                return
            self._slots[camera.start.stream_id].remove(camera)
            asked = camera.interrupt
            if asked is not None:
                self._tell(_of(asked if asked.request_id is not None else camera.start, AnalysisInterrupted))
                return
            if failed is not None:
                told = {"status": "error", "error_reason": failed[:MAX_REASON]}
                self._tell(_of(camera.start, AnalysisInterrupted, **told))
                return
            bad = sum(one.error is not None for one in camera.done.values())
            message = f"{bad} of {len(camera.done)} files could not be analysed" if bad else ""
            count = len(camera.done)
            self._tell(
                _of(camera.start, AnalysisComplete, status="done", processed_count=count, message=message)
            )

    def stop(self) -> int:
        """The app ends: files under way are left after the frame they are at. Returns the cameras ended."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()
            return sum(map(len, self._slots))

    # ----------------------------------------------------------------------------------------------

    def _slot(self, stream_id: int) -> deque[Camera] | None:
        return self._slots[stream_id] if stream_id < len(self._slots) else None

    def _newest(self, stream_id: int, camera_id: int) -> Camera | None:
        """A camera that was begun anew while its last run was ending stands behind that one."""
        found = [one for one in self._slot(stream_id) or () if one.id == camera_id and one.interrupt is None]
        return found[-1] if found else None

    def _refusal(self, camera: Camera | None, asked: PushFile) -> str | None:
        if camera is None:
            return "there is no such camera in this slot"
        if self.stopped:
            return "the app is ending"
        if camera.is_live and any(isinstance(entry, PushedFile) for entry in asked.files):
            return "a live camera has no files"
        if self._waiting + len(asked.files) > MAX_FILES:
            return f"{MAX_FILES} files wait in this app at most"
        return None

    def _ends(self, camera: Camera) -> bool:
        return self.stopped or camera.interrupt is not None

    def _stream(self, number: int, *, named: bool = True) -> StreamStatus:
        slot = self._slots[number]
        cameras = [
            _camera(camera, "queued" if place else _state(camera), named=named)
            for place, camera in enumerate(slot)
            # One that ends and was begun anew is, for whoever asks, the new one.
            if camera.interrupt is None or self._newest(number, camera.id) is None
        ]
        return StreamStatus(stream_id=number, status="running" if cameras else "idle", cameras=cameras)


def timestamp() -> str:
    """Now, UTC with milliseconds."""
    return wire_time(time.time())


def said(model: type[Model], **values: object) -> Model:
    """A message with those of its optional keys that have a value."""
    return model.model_validate({name: value for name, value in values.items() if value is not None})


def _of(asked: OfCamera, model: type[Model], **values: object) -> Model:
    """A message about the camera that `asked` names, which repeats its id."""
    head = {"request_id": asked.request_id, "stream_id": asked.stream_id, "camera_id": asked.camera_id}
    return said(model, **head, **values)


def _state(camera: Camera) -> str:
    """Of a slot's first camera. A live one runs once it has given a frame: that it was begun says nothing."""
    return "queued" if camera.is_live and not camera.frame else "running"


def _camera(camera: Camera, status: str, *, brief: bool = False, named: bool = True) -> CameraStatus:
    processing: list[FileProcessing] = []
    if (at := camera.current) is not None:
        percent = 100.0 * camera.frame / camera.total if camera.total else 0.0
        processing.append(
            FileProcessing(
                file_id=at.file_id,
                file_name=at.file_name,
                progress_pct=round(min(percent, 100.0), 1),
                frame=camera.frame,
                total_frames=camera.total,
            )
        )
    queued = [] if brief else camera.files
    files = CameraFiles(
        processing=processing,
        completed_count=len(camera.done),
        queued_count=len(camera.files),
        queued=[FileQueued(file_id=one.file_id, file_name=one.file_name if named else "") for one in queued],
    )
    return said(CameraStatus, camera_id=camera.id, status=status, files=files, reason=camera.trouble)
