"""Bodies of the routes that list requests and their files (extension)."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from siwatsystem.deepstream.fields import CameraType, Count, Remark, Wire
from siwatsystem.deepstream.rest import Command


class FileCounts(Wire):
    """How many files of a request are in which state."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "total": 12,
        "queued": 5,
        "processing": 1,
        "done": 6,
        "failed": 0,
        "cancelled": 0,
    }
    total: Count
    queued: Count
    processing: Count
    done: Count
    failed: Count
    cancelled: Count


class FollowedRequest(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "request_id": "r1",
        "camera_id": 3,
        "type": "fileset",
        "path": "/videos",
        "name": "Gate",
        "output_dir": "/results",
        "instance_id": "stream_1763700000_0a1b2c3d",
        "stream_id": 0,
        "state": "running",
        "reason": None,
        "created_at": "2026-11-21T08:00:00.000Z",
        "began_at": "2026-11-21T08:00:02.000Z",
        "ended_at": None,
        "files": FileCounts.EXAMPLE,
        "position": None,
    }
    request_id: str
    camera_id: int
    type: CameraType
    path: str
    name: str
    output_dir: str
    instance_id: str | None = Field(description="Null: any that is free")
    stream_id: int | None
    state: Literal["queued", "running", "done", "failed", "interrupted"]
    reason: str | None = Field(description="Why it waits, or has ended so")
    created_at: str
    began_at: str | None = Field(description="When its first frame was analysed")
    ended_at: str | None
    files: FileCounts
    position: int | None = Field(None, description="In its slot's line, from 1")


class RequestList(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {"total_count": 1, "requests": [FollowedRequest.EXAMPLE]}
    total_count: Count = Field(description="In this state, on all pages")
    requests: list[FollowedRequest]


class FollowedFile(Wire):
    EXAMPLE: ClassVar[dict[str, Any]] = {
        "request_id": "r1",
        "file_id": 7,
        "file_path": "/videos/b.mp4",
        "file_name": "b.mp4",
        "state": "done",
        "processed_file": "/results/b.jsonl",
        "frames": 300,
        "detections": 41,
        "error": None,
    }
    request_id: str
    file_id: int
    file_path: str
    file_name: str
    state: Literal["queued", "processing", "done", "failed", "cancelled"]
    processed_file: str | None
    frames: int | None
    detections: int | None
    error: str | None


class RequestWithFiles(FollowedRequest):
    EXAMPLE: ClassVar[dict[str, Any]] = {**FollowedRequest.EXAMPLE, "file_list": [FollowedFile.EXAMPLE]}
    file_list: list[FollowedFile]


class Cancel(Command):
    EXAMPLE: ClassVar[dict[str, Any]] = {"reason": "not needed any more"}
    reason: Remark = ""
