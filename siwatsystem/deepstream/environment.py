"""The environment variables of an app: few, and what it must not have in its command line."""

import os
from collections.abc import Mapping, Sequence

APP_ID = "APP_ID"
APP_RUN = "APP_RUN"
"""Which launch of which server a process belongs to; children inherit it, so none is lost."""
APP_TOKEN = "APP_TOKEN"  # noqa: S105 # nosec B105 # the name
APP_SERVER = "APP_SERVER"

_PASSED = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "XDG_CACHE_HOME",
        "XDG_RUNTIME_DIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "DISPLAY",
        "GST_PLUGIN_PATH",
    }
)
_PASSED_KINDS = ("LC_", "CUDA_", "NVIDIA_")
_SECRETS = ("TOKEN", "PASSWORD", "SECRET", "HEADER")


def for_app(
    instance_id: str, gpus: Sequence[int], server_url: str, token: str | None, run: str | None = None
) -> dict[str, str]:
    """What every app is told. Without `gpus` it sees those that this server sees."""
    told = {APP_ID: instance_id, APP_SERVER: server_url}
    if run is not None:
        told[APP_RUN] = run
    if token is not None:
        told[APP_TOKEN] = token
    if gpus:
        told["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as the driver counts, not the fastest first
        told["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    return told


def passed_on(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a local app gets of this server's own: no secrets, but settings."""
    return {name: value for name, value in own.items() if name in _PASSED or _plain(name)}


def _plain(name: str) -> bool:
    if not name.startswith("SIWAT_"):
        return name.startswith(_PASSED_KINDS)
    if name.endswith("_FILES"):  # names where secrets are; who may not read those learns nothing
        return "TOKEN" not in name
    return not any(word in name for word in _SECRETS)
