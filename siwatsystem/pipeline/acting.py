"""An event's jobs: every action of the tree with its placeholders filled from the event's context."""

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from siwatsystem.actions import templates
from siwatsystem.actions.base import Job
from siwatsystem.actions.build import Picture, initial_record_job, message_job, save_image_job, update_job
from siwatsystem.actions.spec import MessageAction, SaveImage, UpdateCombined
from siwatsystem.detections import Detection
from siwatsystem.pipeline.crops import crop_box
from siwatsystem.pipeline.events import BranchResult, EventContext
from siwatsystem.pipeline.memo import PredictionMemo
from siwatsystem.pipeline.regions import Regions, find
from siwatsystem.pipeline.spec import Node
from siwatsystem.pipeline.subjects import Owner, Subject
from siwatsystem.views import View

log = logging.getLogger(__name__)


def local_time(seconds: float) -> str:
    """Seconds since 1970 as `YYYY-MM-DDTHH-MM-SS`, local time."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%dT%H-%M-%S")


class Actor:
    """Makes the jobs of one event on one picture. `targets`: outbox target keys by server kind.

    With an `owner` that is acted on once, actions are due once in its life; of its records what the
    votes have changed since is written again, and messages that name votes wait until these settle.
    """

    def __init__(
        self,
        view: View,
        detection: Detection,
        context: EventContext,
        session_id: int | str | None,
        targets: Mapping[str, str],
        owner: Owner | None = None,
    ) -> None:
        self._view = view
        self._targets = targets
        self._display_id = context.display_id
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
        self._owner = owner
        subject = _acted_once(owner)
        if subject is not None:
            # What is written later belongs to the picture that was saved at first.
            self._context |= {**subject.names, "session_id": session_id}

    def initial_record(self) -> list[Job]:
        """The record's first row."""
        if not _due(self._owner, f"record of {self.session_id}"):
            return []
        return [
            initial_record_job(
                self._display_id,
                str(self._context["timestamp"]),
                str(self.session_id),
                self._targets["postgresql"],
            )
        ]

    def root_actions(self, node: Node, regions: Regions) -> list[Job]:
        """The root's `actions`; an image it saves is known to everything that comes after."""
        jobs = self._run(node, regions, self._context, self._owner)
        subject = _acted_once(self._owner)
        if subject is not None and not subject.names:
            subject.names = dict(self._context)
        return jobs

    def branch_actions(
        self, node: Node, result: BranchResult, regions: Regions, owner: Owner | None
    ) -> list[Job]:
        """A branch's own `actions`, with its result as the detection."""
        if not node.actions:
            return []
        keys = _keys(result.class_name, result.confidence, result.tracker_id)
        context = {**self._context, **keys, node.model_id: result.as_dict()}
        return self._run(node, regions, context, owner)

    def parallel_actions(
        self, node: Node, results: Mapping[str, BranchResult], regions: Regions, owner: Owner | None
    ) -> list[Job]:
        """The node's `parallelActions` whose branches all have results."""
        if not node.parallel_actions:
            return []
        context = {**self._context, **{name: result.as_dict() for name, result in results.items()}}
        jobs: list[Job] = []
        for index, action in enumerate(node.parallel_actions):
            place = f"{node.model_id}.parallelActions[{index}]"
            if isinstance(action, UpdateCombined):
                jobs += self._record(place, action, results, context, _acted_once(owner))
            elif not isinstance(action, SaveImage):
                jobs += self._message(place, action, context, _acted_once(owner))
            elif _due(owner, place):
                jobs.append(self._save(action, regions, context))
        return jobs

    def _run(
        self, node: Node, regions: Regions, context: dict[str, object], owner: Owner | None
    ) -> list[Job]:
        jobs: list[Job] = []
        for index, action in enumerate(node.actions):
            if not _due(owner, f"{node.model_id}.actions[{index}]"):
                continue
            if isinstance(action, SaveImage):
                jobs.append(self._save(action, regions, context))
            else:
                jobs.append(message_job(action, context, self._targets))
        return jobs

    def _record(
        self,
        place: str,
        action: UpdateCombined,
        results: Mapping[str, BranchResult],
        context: Mapping[str, object],
        subject: Subject | None,
    ) -> list[Job]:
        if not all(name in results for name in action.wait_for_branches):
            return []
        votes = [(one.class_name, one.vote is not None and one.vote.settled) for one in results.values()]
        place = f"{place} of {self.session_id}"
        before = None if subject is None else subject.written.get(place)
        if before is not None and before[0] == votes:
            return []
        job = update_job(action, context, self._targets["postgresql"])
        if job is None:
            return []
        if subject is not None and before is not None and before[1] == job.payload:
            subject.written[place] = (votes, before[1])
            return []
        if subject is not None:
            subject.written[place] = (votes, job.payload)
        return [job]

    def _message(
        self, place: str, action: MessageAction, context: Mapping[str, object], subject: Subject | None
    ) -> list[Job]:
        if subject is not None and place in subject.done:
            return []
        job = message_job(action, context, self._targets)
        if subject is None:
            return [job]
        if not all(subject.settled(name) for name in _nodes_named(action)):
            subject.waiting[place] = job
            return []
        subject.waiting.pop(place, None)
        subject.done.add(place)
        return [job]

    def _save(self, action: SaveImage, regions: Regions, context: dict[str, object]) -> Job:
        job = save_image_job(action, context, self._picture(action, regions), self._targets["redis"])
        context["image_key"] = job.payload["key"]
        subject = _acted_once(self._owner)
        if subject is not None and subject.names:
            # Messages that are sent on a later frame name the image too.
            subject.names["image_key"] = job.payload["key"]
        return job

    def _picture(self, action: SaveImage, regions: Regions) -> Picture:
        """The region, else the whole; one picture for all subscriptions of the frame that save the same."""
        region = None if action.region is None else find(regions, action.region)
        box = None if region is None else crop_box(region, self._view.shape)
        view = self._view if box is None else self._view.part(box)
        form = action.format, action.quality
        return view.once("pictures", PredictionMemo).get(form, lambda: Picture(view.cheapest, *form))


def _acted_once(owner: Owner | None) -> Subject | None:
    return owner.subject if owner is not None and owner.once else None


def _due(owner: Owner | None, place: str) -> bool:
    subject = _acted_once(owner)
    return subject is None or subject.first(place)


def _nodes_named(action: MessageAction) -> set[str]:
    """Nodes whose results the message names (`{modelId.field}`)."""
    names = (name for text in action.templates().values() for name in templates.placeholders(text))
    return {name.rpartition(".")[0] for name in names if "." in name}


def _keys(class_name: str, confidence: float, tracker_id: int | None) -> dict[str, object]:
    return {"class": class_name, "confidence": confidence, "id": tracker_id}
