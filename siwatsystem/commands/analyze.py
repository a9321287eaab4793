"""`siwat analyze`: an analysis app, which a control server feeds with video files."""

import asyncio
import logging
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer

from siwatsystem.commands import console


def analyze(
    config: Annotated[str, typer.Option("--config", "-c", help="TOML, JSON, or a DeepStream ini.")],
    server: Annotated[
        str, typer.Option("--server", envvar="APP_SERVER", help="The control server: ws://…/deepstream/ws.")
    ],
    streams: Annotated[
        int | None,
        typer.Option("--streams", min=1, max=256, help="Slots; else what the config says, or 1."),
    ] = None,
    instance_id: Annotated[
        str | None,
        typer.Option("--instance-id", envvar="APP_ID", help="Who this app is; a server must know it."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more.")] = False,
) -> None:
    """Analyse the files that a control server pushes.

    Exit status 0: ended as it was asked to; 1: the pipeline cannot be used; 2: wrong usage or config;
    3: the server refuses this app. A token for the server comes from the variable APP_TOKEN.
    """
    if not server.startswith(("ws://", "wss://")):
        console.leave(f"--server {server}: should begin with ws:// or wss://", 2)
    # Until the app itself listens to it: imports take seconds.
    signal.signal(signal.SIGTERM, _leave)
    _log(verbose)
    # Decoders and runtimes are loaded by whoever runs something, not by every command.
    from siwatsystem import heaps
    from siwatsystem.analysis.app import App, Identity
    from siwatsystem.analysis.app_config import read_config
    from siwatsystem.analysis.app_metrics import allocated
    from siwatsystem.config import load_settings
    from siwatsystem.errors import InvalidSetting

    try:
        found, warnings = read_config(Path(config))
        settings = load_settings()
    except InvalidSetting as error:
        console.leave(error.message, 2)
    for warning in warnings:
        logging.getLogger("siwatsystem").warning("%s: %s", config, warning)
    runtime = settings.runtime.model_copy(update={"precision": found.precision})
    identity = Identity(
        server,
        os.environ.get("APP_TOKEN"),
        instance_id or f"stream_{int(time.time())}_{uuid.uuid4().hex[:8]}",
        config,
        streams or found.streams or 1,
        allocated(),
    )
    heaps.share()
    app = App(identity, found, settings.model_copy(update={"runtime": runtime}))
    status = asyncio.run(app.run())
    # All that counts is on disk. An orderly end of the interpreter takes seconds where torch is loaded, and
    # must not be had at all while a runtime computes.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


def _log(verbose: bool) -> None:
    """To stderr, which whoever launched the app keeps."""
    from siwatsystem.logs import FORMAT, RedactingFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("siwatsystem").setLevel(logging.DEBUG if verbose else logging.INFO)
