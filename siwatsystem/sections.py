"""The sections of the settings, one for each room; `config` puts them together.

Units are in the names: `_sec`, `_ms`, `_mb`, `_kb`.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_core import PydanticCustomError

Seconds = Annotated[float, Field(gt=0, le=86400 * 365, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65535)]
PrecisionSetting = Literal["auto", "exact", "fast"]
Scheme = Literal["rtsp", "rtsps", "http", "https", "webcam", "file"]


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise PydanticCustomError("network", "should be a network such as 192.168.0.0/16") from None
    return value


Network = Annotated[str, AfterValidator(_network)]
"""A network as CIDR; bits of the host may be set, a lone address is a network of one."""


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error:
        raise PydanticCustomError("pattern", "should be a regular expression") from None
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression."""


Receiver = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+$")]
"""Where webhooks go: scheme, host and, if it is not the scheme's own, port."""

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
"""Of an HTTP header."""


class Section(BaseModel):
    """A group of settings; an unknown key is a mistake and is named."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class StreamSettings(Section):
    """How cameras are opened and read (`streams`)."""

    connect_timeout_sec: Seconds = 5.0
    """Longest wait for a camera to accept and describe its stream."""
    read_timeout_sec: Seconds = 5.0
    """Longest wait for the next packet of an open stream, and for a whole snapshot."""
    reconnect_max_sec: Seconds = 5.0
    """Cap of the exponential back-off between two attempts."""
    first_retry_sec: Seconds = 0.5
    """Wait after the first failed attempt; doubled after each further one, up to the smaller of
    `reconnect_interval_sec` and `reconnect_max_sec`."""
    schemes: tuple[Scheme, ...] = ("rtsp", "rtsps", "http", "https", "webcam")
    """What a camera address may begin with; `file` also needs `file_root`."""
    file_root: Path | None = None
    """Folder below which `file` addresses may be opened."""
    networks: tuple[Network, ...] = ()
    """Networks (CIDR) that cameras must lie in; empty allows all but link-local ones."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP packets travel."""
    decode: Literal["auto", "all", "keyframes"] = "auto"
    """Which frames are decoded. `auto`: keyframes alone while they come as often as frames are analysed,
    else all; `all`; `keyframes` alone, however rarely they come."""
    decode_device: Literal["auto", "cpu"] = "auto"
    """What decodes. `auto`: the decoder of the NVIDIA GPU where it takes the stream, else the CPU."""
    snapshot_max_mb: Annotated[int, Field(ge=1, le=200)] = 20
    """Largest snapshot that is read."""
    verify_certificates: bool = True
    """Whether an `https` camera's certificate must be signed by an authority the system trusts."""


class ModelSettings(Section):
    """How archives are fetched, kept and opened (`models`)."""

    download_timeout_sec: Seconds = 120.0
    """Deadline for a whole download."""
    connect_timeout_sec: Seconds = 5.0
    """Longest wait for the server to accept."""
    max_archive_mb: Annotated[int, Field(ge=1)] = 1024
    """Largest archive that is fetched."""
    max_entries: Annotated[int, Field(ge=1)] = 256
    """Most entries of an archive."""
    max_unpacked_mb: Annotated[int, Field(ge=1)] = 2048
    """Most megabytes that an archive may unpack to."""
    max_ratio: Annotated[int, Field(ge=1)] = 100
    """Largest allowed quotient of unpacked and packed bytes of an entry."""
    cache_mb: Annotated[int, Field(ge=1)] = 10240
    """Size of the archive cache over which unused archives are evicted, oldest first."""
    hosts: tuple[str, ...] = ()
    """Hosts that archives may be fetched from; empty allows all but link-local addresses."""
    allow_file: bool = False
    """Whether a `modelUrl` may be a `file://` address."""
    trusted_keys: tuple[str, ...] = ()
    """Public keys (base64, or files that hold one) whose signatures count; once there is one, an archive
    that another key signed is refused. `siwat mpta keygen` makes them."""
    run_tests: bool = False
    """Whether an archive must pass its own `tests/expected.json` before it is used."""


class RuntimeSettings(Section):
    """Which runtime serves models and how (`runtime`)."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPU where there is one."""
    backend: Literal["auto", "torch", "openvino", "onnx", "tensorrt"] = "auto"
    """`auto`: OpenVINO on a CPU; on a GPU torch, and TensorRT for what runs *fast* where its Python
    package is installed; ONNX Runtime for `.onnx`."""
    precision: PrecisionSetting = "auto"
    """`exact`, `fast`, or `auto`: fast where the hardware has it and the archive passed the gate."""
    threads: Annotated[int, Field(ge=0)] = 0
    """Threads for inference; 0 lets the runtime take all cores."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    """Longest wait for further pictures to fill a batch, where batches pay."""
    export_timeout_sec: Seconds = 300.0
    """Deadline of one export, which runs in a process of its own."""
    export_memory_mb: Annotated[int, Field(ge=512)] = 8192
    """Memory limit of that process, and of a model's trial."""
    trial: bool = True
    """Whether a model is first loaded in a process of its own, so that a file which crashes a runtime, hangs
    or fills the memory does not take the worker with it. Once per model, runtime and its version."""
    trial_timeout_sec: Seconds = 120.0
    """Deadline of one trial."""
    engine_timeout_sec: Seconds = 1800.0
    """Deadline of building one TensorRT engine, likewise in a process of its own; meanwhile torch serves."""
    export_cache_mb: Annotated[int, Field(ge=1)] = 4096
    """Size of all exports over which those not used for an hour are deleted, oldest first."""
    gate_pictures: Annotated[int, Field(ge=1, le=1000)] = 12
    """Pictures with something on them that the gate compares before `fast` is used."""


class PipelineSettings(Section):
    """How frames are analysed (`pipeline`)."""

    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """Frames analysed at a time; 0 means one more than there are cores, at least 4."""


class OutboxSettings(Section):
    """The on-disk queue of actions (`outbox`)."""

    max_mb: Annotated[int, Field(ge=1)] = 1024
    """Size at which the oldest images are dropped, then the oldest messages, records last."""
    pending: Annotated[int, Field(ge=1)] = 256
    """Events that may wait in memory to be written to the outbox; beyond it they are dropped and told."""
    command_timeout_sec: Seconds = 1.0
    """Longest wait for Redis, and for a PostgreSQL connection."""
    statement_timeout_sec: Seconds = 5.0
    """Longest run of one PostgreSQL statement."""
    retry_sec: Seconds = 0.5
    """Wait after a server was found away; doubled up to `retry_max_sec`."""
    retry_max_sec: Seconds = 4.0
    """Longest wait between two looks at a server that is away."""
    max_attempts: Annotated[int, Field(ge=1)] = 5
    """Attempts for an action that the server itself refuses; outages do not count."""
    broker_timeout_sec: Seconds = 2.0
    """Longest wait for an MQTT or Kafka broker: for the connection, and for it to have taken a message."""
    webhook_timeout_sec: Seconds = 5.0
    """Longest wait for the answer of a webhook's receiver."""
    webhook_secrets: dict[Receiver, SecretStr] = {}
    """Secrets that webhooks are signed with where the archive brings none, by receiver, as
    `{"https://backend.example": "whsec_…"}`; each is used for that host and port alone."""
    webhook_secret_files: dict[Receiver, Path] = {}
    """Files that hold them instead, such as a Docker or Kubernetes secret."""


class EmbeddedSettings(Section):
    """The worker's own Redis and PostgreSQL, started when an archive says `embedded` (`embedded`)."""

    redis_port: Port = 0
    """Port on 127.0.0.1; 0 takes a free one. The password is in `embedded/redis.password`."""
    postgresql_port: Port = 0
    """Port on 127.0.0.1; 0 takes a free one. The password is in `embedded/postgresql.password`."""


class SupervisionSettings(Section):
    """How parts that are stuck or have died are started anew (`supervision`)."""

    restarts: Annotated[int, Field(ge=0)] = 3
    """Restarts of a part within `window_sec`; one that needs more has failed and is told."""
    window_sec: Seconds = 600.0
    """The time in which `restarts` are counted."""
    model_stuck_sec: Seconds = 60.0
    """A model call that takes longer is given up and its model loaded anew."""
    outbox_stuck_sec: Seconds = 60.0
    """A thread of the outbox that has not come round for longer is replaced."""
    reader_stuck_sec: Seconds = 10.0
    """A camera's reader that goes on for longer after it was told to end its attempt is replaced."""


class WebSocketSettings(Section):
    """Limits of one connection (`websocket`)."""

    state_interval_sec: Seconds = 2.0
    """Seconds between two regular `stateReport`s."""
    max_message_kb: Annotated[int, Field(ge=1)] = 1024
    """Largest message that a client may send."""
    max_depth: Annotated[int, Field(ge=2, le=256)] = 32
    """Deepest nesting of a message."""
    rate_per_sec: Annotated[float, Field(gt=0)] = 200.0
    """Messages a second that a client may send for long; beyond it and `burst` it is closed. A large
    message counts once for every 4 KiB."""
    burst: Annotated[int, Field(ge=1)] = 2000
    """Messages that it may send at once."""
    errors_per_sec: Annotated[float, Field(gt=0)] = 50.0
    """Bad messages a second that are answered for long before the client is closed."""
    error_burst: Annotated[int, Field(ge=1)] = 500
    """Bad messages that are answered at once."""
    detections_per_subscription: Annotated[int, Field(ge=1)] = 16
    """Detections that wait for a slow client; older ones go the `patchSession` way."""
    queue_kb: Annotated[int, Field(ge=16)] = 64
    """Kilobytes of detections and answers that wait for one client, beside what the kernel holds."""
    send_timeout_sec: Seconds = 5.0
    """A client that takes no byte for this long is cut."""
    send_buffer_kb: Annotated[int, Field(ge=4)] = 32
    """Kernel buffer for one client; Linux doubles it. With the queue and the server's own 64: 256 at most."""
    max_connections: Annotated[int, Field(ge=1)] = 256
    """Connections open at a time."""


class ControlSettings(Section):
    """The control server (`control`)."""

    host: str | None = None
    """Address to listen on; null means loopback."""
    port: Port = 18000
    """Port of the control server."""
    server_url: Annotated[str, Field(pattern=r"^wss?://[!-~]+$")] | None = None
    """Where apps connect to (`ws://…/deepstream/ws`); null means this server's own port on loopback. Apps in
    containers without the host's network need it."""
    launcher: Literal["local", "ray"] = "local"
    """Where apps run: on this machine, or on the nodes of a Ray cluster (`pip install '.[ray]'`)."""
    ray_address: Annotated[str, Field(pattern=r"^[!-~]+:[0-9]{1,5}$")] | None = None
    """The cluster's head, as `10.0.0.1:6379`; this machine must be one of its nodes."""
    ray_token_file: Path | None = None
    """File with the cluster's token, the same on all nodes; without one there is no connection."""
    ray_namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "siwat"
    """Where this server's apps are on the cluster; each control server of a cluster needs its own."""
    ray_cpus: Annotated[float, Field(ge=0, le=1024)] = 1.0
    """CPU cores that the cluster keeps free for an app."""
    config_folders: tuple[Path, ...] = ()
    """Folders below which the configs of apps lie; without any no app can be launched."""
    programs: dict[str, tuple[str, ...]] = {}
    """Programs for configs by the pattern of their name, as `{"*.txt": ["/opt/app", "-c", "{config}"]}`; also
    `{streams}`, `{server}`, `{instance}`. What matches none is run by `siwat analyze`."""
    container_programs: dict[str, tuple[str, ...]] = {}
    """The same for apps in containers, where nothing is run that is not named here."""
    additional_args: tuple[Pattern, ...] = ("--verbose",)
    """Regular expressions; each of a launch's `additional_args` must match one as a whole."""
    docker: bool = False
    """Whether apps may be launched in containers. Who may use Docker's socket is root on this machine."""
    docker_containers: tuple[str, ...] = ("*",)
    """Patterns of the names of containers that apps may be launched in."""
    docker_socket: Path = Path("/var/run/docker.sock")
    """Unix socket of the Docker engine."""
    app_logs: Path = Path("logs/apps")
    """Folder for what apps write to stdout and stderr, in the data directory where relative."""
    app_log_mb: Annotated[float, Field(gt=0, le=1024)] = 10.0
    """Size at which an app's log is rotated."""
    app_logs_kept: Annotated[int, Field(ge=1, le=20)] = 1
    """Rotated files that are kept of an app."""
    gpus: tuple[Annotated[int, Field(ge=0, lt=1024)], ...] | None = None
    """Numbers of the GPUs that apps may be given; null asks NVIDIA's driver."""
    slots_per_gpu: Annotated[int, Field(ge=1)] = 32
    """Slots of apps that share a GPU, at most."""
    max_apps: Annotated[int, Field(ge=1)] = 64
    """Apps that live at a time."""
    max_slots: Annotated[int, Field(ge=1)] = 1024
    """Slots of all of them."""
    start_timeout_sec: Seconds = 120.0
    """From the launch of an app to its `app_ready`; one that takes longer is ended."""
    progress_timeout_sec: Seconds = 1800.0
    """How long an app may be at the same frame of a file; then it is asked, and ended where it stays there.
    One that tells no frames is not ended."""
    restarts: Annotated[int, Field(ge=0)] = 5
    """Restarts of an app that died, within `restart_window_sec`; then it is given up."""
    restart_window_sec: Seconds = 600.0
    """The time in which `restarts` are counted."""
    kept_requests: Annotated[int, Field(ge=1)] = 1_000
    """Requests that have ended and can still be asked for; the oldest are forgotten, on the disk too."""
    kept_files: Annotated[int, Field(ge=1)] = 100_000
    """Files of those, of all of them together: about 1 KB of memory and of disk each."""
    media_folders: tuple[Path, ...] = ()
    """Folders below which the videos of requests must lie; empty allows all."""
    test_routes: bool | None = None
    """Whether `/deepstream/test/…` is served; null: on loopback without a control token."""
    sample_data: Path | None = None
    """File with instances to register, and with what the test routes show; null: `sample_data.json`, if it is
    there and test routes are on."""
    log_file: Path | None = Path("logs/gpu_server.log")
    """Log of the control server, in the data directory where relative, rotated at 5 MB; null writes none."""


class LogSettings(Section):
    """Logs (`logs`)."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least important lines that are kept."""
    file: Path | None = Path("detector_worker.log")
    """Log file, in the data directory where relative; null writes none."""
    max_mb: Annotated[float, Field(gt=0)] = 10.0
    """Size at which the file is rotated."""
    keep: Annotated[int, Field(ge=0)] = 5
    """Rotated files that are kept."""


class TracingSettings(Section):
    """OpenTelemetry traces of frames (`tracing`)."""

    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$")] | None = None
    """OTLP/HTTP address of the collector that traces are sent to, as `http://collector:4318` (`/v1/traces` is
    added where it has no path); null makes none. Needs `pip install '.[tracing]'`."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the analysed frames that are traced."""
    service_name: Annotated[str, Field(min_length=1, max_length=255)] = "detector-worker"
    """What the worker is called in traces."""
    headers: dict[HeaderName, SecretStr] = {}
    """Headers for the collector, as `{"authorization": "Bearer …"}`."""
    header_files: dict[HeaderName, Path] = {}
    """Files that hold their values instead, such as a Docker or Kubernetes secret."""
