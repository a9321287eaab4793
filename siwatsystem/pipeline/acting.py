"""An event's jobs: every action of the tree with its placeholders filled from the event's context."""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from siwatsystem.actions.base import Job
from siwatsystem.actions.build import initial_record_job, publish_job, save_image_job, update_job
from siwatsystem.actions.spec import Publish, SaveImage, UpdateCombined
from siwatsystem.detections import Detection
from siwatsystem.frames import Image
from siwatsystem.pipeline.branches import crop_box
from siwatsystem.pipeline.events import BranchResult, EventContext
from siwatsystem.pipeline.regions import Regions, find
from siwatsystem.pipeline.spec import Node

log = logging.getLogger(__name__)


def local_time(seconds: float) -> str:
    """Seconds since 1970 as `YYYY-MM-DDTHH-MM-SS`, local time."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%dT%H-%M-%S")


class Actor:
    """Makes the jobs of one event on one picture. `targets`: outbox target keys by server kind."""

    def __init__(
        self,
        image: Image,
        detection: Detection,
        context: EventContext,
        session_id: int | str | None,
        targets: Mapping[str, str],
    ) -> None:
        self._image = image
        self._targets = targets
        self._display_id = context.display_id
        self._captured_at = context.captured_at
        self.session_id = session_id
        name = uuid.uuid4().hex
        self._context: dict[str, object] = {
            "camera_id": context.camera_id,
            "display_id": context.display_id,
            "session_id": session_id,
            "timestamp": local_time(context.captured_at),
            "timestamp_ms": int(context.captured_at * 1000),
            "uuid": name,
            "filename": f"{name}.jpg",
            "image_key": None,
            **_keys(detection.class_name, detection.confidence, detection.tracker_id),
        }

    def initial_record(self) -> Job:
        return initial_record_job(
            self._display_id,
            str(self._context["timestamp"]),
            str(self.session_id),
            self._targets["postgresql"],
        )

    def root_actions(self, node: Node, regions: Regions) -> list[Job]:
        """The root's `actions`; an image it saves is known to everything that comes after."""
        return self._run(node, regions, self._context)

    def branch_actions(self, node: Node, result: BranchResult, regions: Regions) -> list[Job]:
        """A branch's own `actions`, with its result as the detection."""
        keys = _keys(result.class_name, result.confidence, result.tracker_id)
        context = {**self._context, **keys, node.model_id: result.as_dict()}
        return self._run(node, regions, context)

    def parallel_actions(
        self, node: Node, results: Mapping[str, BranchResult], regions: Regions
    ) -> list[Job]:
        """The node's `parallelActions` whose branches all have results."""
        context = {**self._context, **{name: result.as_dict() for name, result in results.items()}}
        jobs: list[Job] = []
        for action in node.parallel_actions:
            if isinstance(action, UpdateCombined):
                if all(name in results for name in action.wait_for_branches):
                    job = update_job(action, context, self._targets["postgresql"])
                    jobs.extend([] if job is None else [job])
            else:
                jobs.append(self._redis(action, regions, context))
        return jobs

    def _run(self, node: Node, regions: Regions, context: dict[str, object]) -> list[Job]:
        return [self._redis(action, regions, context) for action in node.actions]

    def _redis(self, action: SaveImage | Publish, regions: Regions, context: dict[str, object]) -> Job:
        if isinstance(action, Publish):
            return publish_job(action, context, self._targets["redis"])
        job = save_image_job(action, context, self._picture(action, regions), self._targets["redis"])
        context["image_key"] = job.payload["key"]
        return job

    def _picture(self, action: SaveImage, regions: Regions) -> Image:
        region = None if action.region is None else find(regions, action.region)
        box = None if region is None else crop_box(region, self._image)
        if box is None:
            return self._image
        x1, y1, x2, y2 = box
        return self._image[y1:y2, x1:x2]


def _keys(class_name: str, confidence: float, tracker_id: int | None) -> dict[str, object]:
    return {"class": class_name, "confidence": confidence, "id": tracker_id}
