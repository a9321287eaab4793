"""`siwat control`: the control server."""

import logging
import sys
from typing import NoReturn

from siwatsystem.config import LogSettings, Settings, load_settings
from siwatsystem.errors import InvalidSetting

LOG_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
LOG_MB, LOGS_KEPT = 5.0, 5
LOOPBACK = "127.0.0.1"
SEND_BUFFER_KB = 256
"""A status of ten thousand files has 400 KB. A buffer of less than two of loopback's packets (64 KB) waits 40
ms for each to be acknowledged."""


def control() -> NoReturn:
    """Run the control server until SIGTERM or SIGINT. Exits with status 0, or 2 for a bad setting."""
    from siwatsystem import server

    try:
        serve(load_settings())
    except InvalidSetting as error:
        print(f"siwat: {error.message}", file=sys.stderr)
        server.leave(2)
    server.leave(0)


def serve(settings: Settings) -> None:
    """Raises InvalidSetting when it cannot start."""
    from siwatsystem import server
    from siwatsystem.deepstream.application import MAX_BODY_BYTES, create_app
    from siwatsystem.http_protocol import MAX_REQUEST_BYTES, LimitedProtocol

    class LargeBodies(LimitedProtocol):
        """Requests may name thousands of files."""

        most_bytes = MAX_BODY_BYTES + MAX_REQUEST_BYTES

    set_up_logs(settings)
    app = create_app(settings)

    async def end() -> None:
        await app.state.service.end()

    where = (settings.control.host or LOOPBACK, settings.control.port)
    server.run(app, settings, where, LargeBodies, end, SEND_BUFFER_KB)


def set_up_logs(settings: Settings) -> None:
    """Lines and rotation as those who read this log expect them. Raises InvalidSetting."""
    from siwatsystem import logs

    formatter = logs.RedactingFormatter(LOG_FORMAT)
    formatter.default_msec_format = "%s.%03d"
    chosen = LogSettings(
        level=settings.logs.level, file=settings.control.log_file, max_mb=LOG_MB, keep=LOGS_KEPT
    )
    try:
        logs.set_up(chosen, settings.data_dir, formatter)
    except OSError as error:
        raise InvalidSetting(f"control.log_file = {chosen.file}: {error.strerror}") from None
    logging.captureWarnings(True)
