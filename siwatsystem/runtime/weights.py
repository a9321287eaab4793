"""Loading a `.pt`: a pickle, so only through ultralytics' restricted loader, never otherwise.

The loader builds nothing but the network classes it knows. A checkpoint that names anything else
is refused and nothing of it has run.
"""

import math
import pickle  # nosec B403 # for the name of its error; nothing is unpickled here
import pickletools  # nosec B403 # reads opcodes, runs none
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from siwatsystem.errors import ModelInvalid, ModelRefused
from siwatsystem.runtime.metadata import Metadata, Triple, checked
from siwatsystem.runtime.silence import silence


def load_checkpoint(path: Path) -> tuple[Any, Metadata]:
    """The network (torch.nn.Module, float32, evaluating, on the CPU) and what is known of it.

    Raises ModelRefused for a checkpoint with anything but a network in it and where the restricted
    loader is not at work, ModelInvalid for a file that is no checkpoint or holds another kind of
    model, FileNotFoundError where there is no file. Nothing is ever downloaded.
    """
    if not path.is_absolute():
        raise ModelInvalid(f"{path}: the path of weights must be absolute")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    tasks = _restricted_loader()
    with tempfile.TemporaryDirectory(prefix="weights-") as folder:
        # The loader cleans up, renames and may try to download what its path does not lead to as
        # it stands; a name of our own keeps the author's file name out of that.
        link = Path(folder) / "weights.pt"
        link.symlink_to(path)
        network = _load(tasks, link, path.name)
    return network, _metadata(network)


def _restricted_loader() -> Any:
    silence()
    from ultralytics.nn import tasks

    loader = getattr(tasks, "_SafeLoad", None)
    if not getattr(loader, "SUPPORTED", False) or not getattr(tasks, "SAFE_LOAD", False):
        raise ModelRefused("weights are only loaded by the restricted loader, which is not at work here")
    return tasks


def _load(tasks: Any, link: Path, name: str) -> Any:
    try:
        network, _ = tasks.load_checkpoint(str(link))
    except TypeError as error:
        cause = error.__cause__
        if isinstance(cause, pickle.UnpicklingError) and not _is_damaged(link, str(cause)):
            raise ModelRefused(
                f"{name} names something that is not part of a network: {_why(cause)}"
            ) from None
        raise ModelInvalid(f"{name} is no checkpoint of a network that can be served") from None
    except struct.error:
        raise ModelInvalid(f"{name} is no checkpoint, or was cut short") from None
    except (
        RuntimeError,
        ValueError,
        KeyError,
        AttributeError,
        ImportError,
        IndexError,
        OSError,
        EOFError,
        AssertionError,
        OverflowError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelInvalid(f"{name} cannot be loaded ({type(error).__name__})") from None
    return network


def _is_damaged(path: Path, message: str) -> bool:
    """Whether the loader gave up on bytes that are no pickle, and not on what a pickle names."""
    if "Unsupported operand" not in message or zipfile.is_zipfile(path):
        return False
    try:
        with path.open("rb") as stream:
            for _ in pickletools.genops(stream):
                pass
    except (ValueError, UnicodeDecodeError, OverflowError):
        return True
    return False


def _why(error: BaseException) -> str:
    """The part of torch's long advice that says what was refused."""
    for line in str(error).splitlines():
        if "GLOBAL" in line or "unsafe" in line or "class" in line.lower():
            return line.strip()[:200]
    return "the loader stopped"


def _metadata(network: Any) -> Metadata:
    channels = getattr(network, "yaml", {}).get("channels", 3)
    if channels != 3:
        raise ModelInvalid(f"the model takes {channels} channels, not 3")
    stride = max(int(network.stride.max()), 32)
    size = _input_size(network.args.get("imgsz", 640), stride)
    mean, std = _normalisation(network, size)
    return checked(
        task=network.task,
        names=getattr(network, "names", None),
        input_size=size,
        stride=stride,
        mean=mean,
        std=std,
    )


def _input_size(imgsz: Any, stride: int) -> tuple[int, int]:
    """Height and width: the checkpoint's own size, rounded up to the stride as `predict` does."""
    sides: list[int] = [imgsz, imgsz] if isinstance(imgsz, int) else list(imgsz)
    height, width = (max(math.ceil(side / stride) * stride, stride) for side in sides)
    return height, width


def _normalisation(network: Any, size: tuple[int, int]) -> tuple[Triple, Triple]:
    """Mean and standard deviation of the transforms that a classification checkpoint brings along.

    As in `predict` they count only where they are for the same input size.
    """
    steps = list(getattr(getattr(network, "transforms", None), "transforms", ()))
    kinds = [type(step).__name__ for step in steps]
    if kinds != ["Resize", "CenterCrop", "ToTensor", "Normalize"]:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    resize = steps[0].size
    if resize not in (size, list(size)) and not (size[0] == size[1] == resize):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if steps[0].interpolation.value != "bilinear":
        raise ModelInvalid(f"the model scales its pictures {steps[0].interpolation.value}, not bilinear")
    return _numbers(steps[3].mean), _numbers(steps[3].std)


def _numbers(values: Any) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
