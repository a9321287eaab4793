"""The video decoder of an NVIDIA GPU (NVDEC), where there is one."""

import functools
import logging

import av.error
from av.codec.context import CodecContext
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext

log = logging.getLogger(__name__)

CODECS = frozenset(["h264", "hevc", "av1", "vp9"])
"""What is worth its while; JPEGs are decoded faster than they travel."""
FORMAT = "cuda"
"""Format of frames that are on the GPU; they are fetched when they are converted."""


def gpu_context(codec: str, extradata: bytes | None) -> VideoCodecContext | None:
    """A decoder on the GPU for a stream of `codec`; None where there is no GPU, or it does not decode that.

    `codec` is the codec's own name, not that of one of its decoders (`av1`, not `libdav1d`).
    A stream that the GPU does not take after all (its size or profile, or there are as many decoders as
    it can have) is decoded by the processor without anybody asking: frames tell by their format.
    """
    if codec not in CODECS or not _has_gpu():
        return None
    try:
        context = _create(codec)
    except av.error.FFmpegError as error:
        log.warning("the GPU decodes no further stream: %s", error.strerror)
        return None
    if not context.is_hwaccel:
        return None
    if extradata:
        context.extradata = extradata
    return context


@functools.cache
def _has_gpu() -> bool:
    """Whether there is a GPU that decodes; tried once, told once."""
    try:
        _create("h264")
    except av.error.FFmpegError:
        # Raised in spite of the fallback to software: there is no device to fall back from.
        log.info("no GPU decodes video here: the CPU does")
        return False
    return True


def _create(codec: str) -> VideoCodecContext:
    # Frames that nobody looks at stay on the GPU.
    accelerator = HWAccel("cuda", allow_software_fallback=True, is_hw_owned=True)
    context = CodecContext.create(codec, "r", hwaccel=accelerator)
    assert isinstance(context, VideoCodecContext)
    # FFmpeg would start one for each core, which have nothing to do.
    context.thread_count = 1
    return context
