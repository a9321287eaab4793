"""What happens to the state core: news of processes and connections, and clients' commands."""

from dataclasses import dataclass, field

from siwatsystem.deepstream.apps import Spec
from siwatsystem.deepstream.fields import CameraType
from siwatsystem.deepstream.messages import AppMessage


@dataclass(frozen=True, slots=True)
class Launched:
    """The process of a LaunchApp is there."""

    instance_id: str
    run: int
    host_pid: int | None
    container_pid: int | None = None
    log_path: str | None = None
    command: str = ""


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """It could not be started. `status`: the HTTP status for whoever asked."""

    instance_id: str
    run: int
    reason: str
    status: int = 503


@dataclass(frozen=True, slots=True)
class Exited:
    """A process has ended. `code`: None where nobody saw it (after a restart of the server)."""

    instance_id: str
    run: int
    code: int | None
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """A message came on a connection. The driver numbers connections and never uses a number twice."""

    connection: int
    message: AppMessage


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    connection: int


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Something may be due (`Control.next_due`)."""


# --- commands: `request_id` is the client's, or made up for it --------------------------------


@dataclass(frozen=True, slots=True)
class FileGiven:
    file_id: int
    file_path: str
    file_name: str = ""
    output_path: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """`made_up`: the instance id to take where the client named none."""

    request_id: str
    spec: Spec
    instance_id: str | None = None
    made_up: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Register:
    """An app that somebody else starts, and that may connect."""

    request_id: str
    instance_id: str
    spec: Spec


@dataclass(frozen=True, slots=True)
class Start:
    """A new request; its id is the command's. `closed` False: more files will be pushed."""

    request_id: str
    camera_id: int
    kind: CameraType
    path: str
    name: str = ""
    output_dir: str = ""
    files: tuple[FileGiven, ...] = ()
    instance_id: str | None = None
    stream_id: int | None = None
    closed: bool = True
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Push:
    request_id: str
    target: str
    files: tuple[FileGiven, ...] = ()
    end: bool = False


@dataclass(frozen=True, slots=True)
class Reorder:
    """`position` counts from 1."""

    request_id: str
    target: str
    position: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a request, wherever it is."""

    request_id: str
    target: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """End what a camera does on an app; the app goes on."""

    request_id: str
    instance_id: str
    stream_id: int
    camera_id: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Terminate:
    request_id: str
    instance_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Forget apps that have ended or were given up and that nothing waits for."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Stop:
    """End everything: no new work, every app asked to end."""

    request_id: str


@dataclass(frozen=True, slots=True)
class AskMetrics:
    request_id: str
    instance_id: str


News = Launched | LaunchFailed | Exited | Received | ConnectionLost | TimePassed
Command = (
    Launch | Register | Start | Push | Reorder | Cancel | Interrupt | Terminate | CleanUp | Stop | AskMetrics
)
Event = News | Command
