"""Settings: `config.json`, overridden by `SIWAT_*` environment variables, one section per room.

`SIWAT_TARGET_FPS` is the key `target_fps`, `SIWAT_STREAMS__READ_TIMEOUT_SEC` the key
`read_timeout_sec` of the section `streams`; `SIWAT_CONFIG` names another file than `config.json`.
Names carry their units (`_sec`, `_ms`, `_mb`).
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from siwatsystem.errors import InvalidSetting
from siwatsystem.sections import (
    ControlSettings,
    EmbeddedSettings,
    LogSettings,
    ModelSettings,
    Network,
    OutboxSettings,
    PipelineSettings,
    Port,
    PrecisionSetting,
    RuntimeSettings,
    Seconds,
    StreamSettings,
    SupervisionSettings,
    TracingSettings,
    WebSocketSettings,
)
from siwatsystem.tokens import Token, from_files

__all__ = [
    "ControlSettings",
    "EmbeddedSettings",
    "LogSettings",
    "ModelSettings",
    "OutboxSettings",
    "PipelineSettings",
    "PrecisionSetting",
    "RuntimeSettings",
    "Settings",
    "StreamSettings",
    "SupervisionSettings",
    "TracingSettings",
    "WebSocketSettings",
    "describe",
    "load_settings",
]


class Settings(BaseSettings):
    """All settings of the worker; see `docs/settings.md` for the list, generated from here."""

    model_config = SettingsConfigDict(
        env_prefix="SIWAT_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    poll_interval_ms: Annotated[float, Field(gt=0, le=3_600_000)] = 100
    """Milliseconds between two analysed frames; used only where `target_fps` is absent."""
    max_streams: Annotated[int, Field(ge=1)] = 5
    """Sources open at a time."""
    target_fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames analysed per second and subscription (absent everywhere: 10)."""
    reconnect_interval_sec: Seconds = 5.0
    """Seconds between two attempts at a camera or archive that failed in passing."""
    max_retries: Annotated[int, Field(ge=-1)] = 3
    """Attempts after a passing failure; -1 means for ever."""

    host: str | None = None
    """Address to listen on; null means loopback, or all addresses once `control_token` is set."""
    port: Port = 8000
    """Port of the worker."""
    data_dir: Path = Path()
    """Holds `models/`, the outbox and the embedded servers' files."""
    stale_after_sec: Seconds = 8.0
    """A source that delivers no new frame for this long is reopened and told as lost."""
    disconnect_grace_sec: Annotated[float, Field(ge=0)] = 30.0
    """How long subscriptions stay warm after their connection was lost."""
    realtime_deadline_ms: Annotated[float, Field(gt=0)] = 2000.0
    """Age at which a detection is too late to be sent as such."""
    patch_keep_sec: Seconds = 3600.0
    """How long a `patchSession` waits for a connection that subscribes its display."""
    permanent_retry_sec: Seconds = 300.0
    """Rest after a permanent failure (401, 404, a refused archive) before it is tried again."""
    shutdown_timeout_sec: Seconds = 6.0
    """Deadline for ending once told to."""
    require_signature: bool = False
    """Whether archives must be signed, with one of `models.trusted_keys`. A bare model file cannot be."""
    control_token: Token | None = None
    """Token that commands need; without one the worker listens on loopback."""
    control_token_file: Path | None = None
    """File that holds it instead, such as a Docker or Kubernetes secret; read at start."""
    view_token: Token | None = None
    """Token that only lets look: images, metrics, the dashboard."""
    view_token_file: Path | None = None
    """File that holds it instead."""
    login_keep_sec: Seconds = 43200.0
    """How long a browser stays logged in without a request."""
    hostnames: tuple[str, ...] = ()
    """Names, beside addresses and `localhost`, under which browsers may open the WebSocket of a worker
    without a token. Any other name may have been pointed here by a stranger."""
    proxies: tuple[Network, ...] = ()
    """Addresses or networks (CIDR) of proxies before the worker. Who calls, and whether over TLS, is believed
    from their `X-Forwarded-For` and `X-Forwarded-Proto` alone."""

    streams: StreamSettings = StreamSettings()
    """Cameras."""
    models: ModelSettings = ModelSettings()
    """Archives."""
    runtime: RuntimeSettings = RuntimeSettings()
    """Inference."""
    pipeline: PipelineSettings = PipelineSettings()
    """Analysis."""
    outbox: OutboxSettings = OutboxSettings()
    """Actions on their way."""
    embedded: EmbeddedSettings = EmbeddedSettings()
    """The worker's own databases."""
    supervision: SupervisionSettings = SupervisionSettings()
    """Parts that are stuck or have died."""
    websocket: WebSocketSettings = WebSocketSettings()
    """Limits of a connection."""
    control: ControlSettings = ControlSettings()
    """The control server."""
    logs: LogSettings = LogSettings()
    """Logs."""
    tracing: TracingSettings = TracingSettings()
    """Traces of frames."""

    _tokens = model_validator(mode="before")(from_files)

    @property
    def analysis_interval_sec(self) -> float:
        """Seconds between two analysed frames of a subscription."""
        return 1 / self.target_fps if self.target_fps is not None else self.poll_interval_ms / 1000

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which `load_settings` passes as arguments."""
        return env_settings, init_settings


def load_settings(path: Path | None = None, **overrides: Any) -> Settings:
    """Settings of `path` (else `SIWAT_CONFIG`, else `config.json` if there is one) and the environment.

    Raises InvalidSetting with one line that names the key, its value and what is allowed.
    """
    _refuse_unknown_variables()
    named = path or (Path(os.environ["SIWAT_CONFIG"]) if os.environ.get("SIWAT_CONFIG") else None)
    file = named or Path("config.json")
    values: dict[str, Any] = _read(file) if named or file.exists() else {}
    try:
        settings = Settings(**values)
        return settings.model_copy(update=overrides) if overrides else settings
    except ValidationError as error:
        raise InvalidSetting(describe(error)) from None
    except SettingsError as error:
        section = re.search(r'field "(\w+)"', str(error))
        prefix = f"SIWAT_{section[1].upper()}" if section else "SIWAT_"
        names = ", ".join(sorted(name for name in os.environ if name.upper().startswith(prefix)))
        raise InvalidSetting(f'{names}: not JSON; a list is written as ["one", "two"]') from None


def _refuse_unknown_variables() -> None:
    """A variable of ours that names no setting is a mistake, as a key in the file is."""
    known = {"config", *Settings.model_fields}
    for name in sorted(os.environ):
        key = name.lower().removeprefix("siwat_").partition("__")[0]
        if name.upper().startswith("SIWAT_") and key not in known:
            raise InvalidSetting(f"{name}: no such setting")


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSetting(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(f"{file}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise InvalidSetting(f"{file}: must hold a JSON object, not {type(values).__name__}")
    # pydantic-settings takes arguments of its own as well, `_cli_parse_args` among them.
    for name in values:
        if name.startswith("_"):
            raise InvalidSetting(f"{name!r}: no such setting")
    return values  # pyright: ignore[reportUnknownVariableType]


def describe(error: ValidationError) -> str:
    """One line for the first few mistakes: key, value, what is allowed."""
    parts: list[str] = []
    for item in error.errors(include_url=False)[:3]:
        names = [str(part) for part in item["loc"]]
        key = ".".join(name if name.isprintable() else repr(name) for name in names)
        variable = "SIWAT_" + "__".join(names).upper()
        if item["type"] == "extra_forbidden":
            parts.append(f"{key}: no such setting")
            continue
        origin = f" (from {variable})" if variable in os.environ else ""
        parts.append(f"{key} = {_shown(key, item['input'])}{origin}: {item['msg']}")
    return "; ".join(parts)


def _shown(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return "{…}"
    return "***" if any(word in key for word in ("token", "password", "secret", "header")) else repr(value)
