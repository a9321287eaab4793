"""Cameras whose pictures are all keyframes: which of them are decoded, counted and told."""

from siwatsystem import metrics
from siwatsystem.streams.policy import DecodePolicy, Step
from siwatsystem.streams.reader import Opening


class Watched:
    """The policy of one camera that sends single pictures (a webcam, snapshots)."""

    def __init__(self, opening: Opening) -> None:
        self._policy = DecodePolicy(opening.settings.decode, opening.interval_sec, singles=True)
        self._decoding = opening.decoding
        self._received = metrics.PACKETS_RECEIVED.labels(opening.spec.label)
        self._decoded = metrics.FRAMES_DECODED.labels(opening.spec.label)

    def takes(self, at: float) -> bool:
        """Whether the picture that arrived `at` (monotonic clock) is to be decoded."""
        self._received.inc()
        step = self._policy.packet(True, at, None)
        self._decoding.policy = self._policy.in_force
        self._decoding.keyframe_sec = self._policy.keyframe_sec
        return step is not Step.SKIP

    def decoded(self) -> None:
        """It was, and is a picture."""
        self._decoded.inc()
        self._policy.whole_keyframe()
