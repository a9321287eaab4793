"""Bodies of the REST routes that start, watch and end analyses."""

from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import AliasChoices, Field, model_validator

from siwatsystem.deepstream.fields import (
    MAX_FILES,
    CameraId,
    CameraType,
    FileId,
    NamedCamera,
    NeededPlace,
    Place,
    Remark,
    StreamId,
    Wire,
)
from siwatsystem.deepstream.rest import Answer, Command
from siwatsystem.deepstream.to_server import CameraStatus, StreamStatus
from siwatsystem.messages import Identifier


class GivenFile(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "file_id": 7,
        "file_path": "/videos/b.mp4",
        "file_name": "b.mp4",
        "output_path": "/results/b",
    }
    file_id: FileId
    file_path: NeededPlace
    file_name: Place = ""
    output_path: Place = ""


_SPELLINGS = frozenset({"path", "camera_path", "name", "camera_name"})
GivenFiles = Annotated[list[GivenFile], Field(max_length=MAX_FILES)]


class StartAnalysis(Command, NamedCamera):
    """Analyse a camera, a folder of videos, or files. Without `files`, a folder's videos in name order."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "camera_id": 3,
        "type": "fileset",
        "path": "/videos",
        "camera_path": "/videos",
        "name": "Gate",
        "camera_name": "Gate",
        "output_dir": "/results",
        "files": [GivenFile.EXAMPLE],
    }
    MORE = (
        {"camera_id": 3, "type": "fileset", "path": "/videos", "name": "Gate", "output_dir": "/results"},
        {"camera_id": 4, "type": "file", "camera_path": "/videos/a.mp4", "camera_name": "Road"},
        {"camera_id": 5, "type": "videostream", "path": "rtsp://camera/stream", "name": "Yard"},
    )
    camera_id: CameraId
    type: CameraType = Field(validation_alias=AliasChoices("type", "camera_type"))
    output_dir: Place = ""
    files: GivenFiles | None = None
    instance_id: Identifier | None = Field(None, description="Only on this app (extension)")
    stream_id: StreamId | None = Field(None, description="Only in this slot (extension)")
    end: bool = Field(True, description="False: more files will be pushed (extension)")
    resume: bool = Field(
        False, description="After a crash go on with a file at the frame it had come to (extension)"
    )

    @model_validator(mode="before")
    @classmethod
    def _said(cls, body: Any) -> Any:
        """Without what says nothing: null, an empty one of two spellings, no files of a folder."""
        if not isinstance(body, dict):
            return body
        given = cast(dict[str, Any], body)
        said = {
            key: value
            for key, value in given.items()
            if value is not None and (value != "" or key not in _SPELLINGS)
        }
        if said.get("files") == [] and said.get("end") is not False:
            del said["files"]
        return said

    @model_validator(mode="after")
    def _check(self) -> "StartAnalysis":
        _check_files(self.files or [])
        if self.files and self.type == "videostream":
            raise ValueError("a videostream has no files")
        return self


class AnalysisRequested(Answer):
    """`started`: it was handed to the app; `queued`: the slot is busy. `state` is finer."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "request_id": "r1",
        "instance_id": "stream_1763700000_0a1b2c3d",
        "stream_id": 0,
        "camera_id": 3,
        "status": "queued",
        "message": "2 requests are before it",
        "state": "queued",
        "position": 3,
    }
    instance_id: str | None = Field(description="Null while any app may take it, as its own is gone")
    stream_id: int | None = Field(description="Likewise")
    camera_id: int
    status: Literal["started", "queued"]
    message: str
    state: str | None = Field(None, description="queued, running, done, failed or interrupted (extension)")
    position: int | None = Field(None, description="In the slot's line, from 1 (extension)")


class PushFiles(Command):
    """More files for a request that was started with `end: false` (extension)."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"files": [GivenFile.EXAMPLE], "end": True}
    files: GivenFiles = Field(default_factory=list[GivenFile])
    end: bool = Field(False, description="No file comes after these")

    @model_validator(mode="after")
    def _check(self) -> "PushFiles":
        _check_files(self.files)
        return self


class Reorder(Command):
    """Move a request that waits to another place in its slot's line (extension)."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"position": 1}
    position: Annotated[int, Field(ge=1, description="From 1; the line's end where it is beyond that")]


class Changed(Answer):
    """What became of a push, a reorder or a cancel (extension)."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "request_id": "c1",
        "success": True,
        "message": "it is next",
        "target": "r1",
        "state": "queued",
        "position": 1,
    }
    success: bool
    message: str
    target: str
    state: str
    position: int | None = None


class Interrupted(Answer):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "status": "interrupting",
        "instance_id": "stream_1763700000_0a1b2c3d",
        "stream_id": 0,
        "camera_id": 3,
        "reason": "not needed any more",
    }
    status: str
    instance_id: str
    stream_id: int
    camera_id: int
    reason: Remark


class InstanceStreams(Wire):
    """The slots of one app in the status of all: `{instance_id: {streams: […]}}`."""

    EXAMPLE: ClassVar[dict[str, Any]] = {"streams": [StreamStatus.EXAMPLE]}
    streams: list[StreamStatus]


class InstanceStatus(Wire):
    """One app's slots, one slot, or one camera of it."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "instance_id": "stream_1763700000_0a1b2c3d",
        "timestamp": "2026-11-21T08:00:05.000Z",
        "streams": [StreamStatus.EXAMPLE],
    }
    MORE = (
        {
            "instance_id": "stream_1763700000_0a1b2c3d",
            "timestamp": "2026-11-21T08:00:05.000Z",
            "stream": StreamStatus.EXAMPLE,
        },
        {
            "instance_id": "stream_1763700000_0a1b2c3d",
            "timestamp": "2026-11-21T08:00:05.000Z",
            "stream_id": 0,
            "camera": CameraStatus.EXAMPLE,
        },
    )
    instance_id: str
    timestamp: str
    streams: list[StreamStatus] | None = None
    stream: StreamStatus | None = None
    stream_id: int | None = None
    camera: CameraStatus | None = None


def _check_files(files: list[GivenFile]) -> None:
    seen: set[int] = set()
    for file in files:
        if file.file_id in seen:
            raise ValueError(f"files: file_id {file.file_id} is there twice")
        seen.add(file.file_id)
