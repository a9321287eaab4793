"""What an operator can do about each error code, and about what concerns many cameras, in short."""

from typing import Final

from siwatsystem.errors import ErrorCode

HINTS: Final[dict[ErrorCode, str]] = {
    "invalid_json": "The backend sent a message that is no JSON: show its developers the worker's log.",
    "invalid_message": "The backend sent a message that lacks something: show its developers this text.",
    "unknown_type": "The backend speaks a message that this version does not know: compare both versions.",
    "unknown_subscription": "The backend ended what it had not subscribed; nothing is broken here.",
    "max_streams_reached": "Raise `max_streams` in config.json, or have the backend subscribe fewer cameras.",
    "stream_unreachable": "Check the camera's power and network, and that its address is right. "
    "It is tried again by itself.",
    "stream_unauthorized": "The camera refuses the login: correct user name and password in the backend.",
    "stream_refused": "The settings forbid this address: see `streams.networks` and `streams.schemes`, or "
    "correct it in the backend.",
    "stream_lost": "The camera stopped sending: check its power and network. It is tried again by itself.",
    "model_download_failed": "Check that the archive's server is up and that `modelUrl` is right. "
    "It is tried again by itself.",
    "model_invalid": "The archive has a mistake: run `siwat mpta validate` on it and upload a mended one.",
    "model_refused": "The archive was not opened for safety's sake: ask its author, and see SECURITY.md.",
    "pipeline_failed": "A model fails on the pictures: try its archive (“Try a picture”), then show its "
    "author the log.",
    "action_failed": "Check the server that is named: the archive sends to it. What waits is kept on disk "
    "and sent by itself.",
    "outbox_full": "The disk or the outbox is full: bring back the servers that actions go to, make room on "
    "the disk, or raise `outbox.max_mb`.",
    "overloaded": "The machine has more to do than it can: subscribe fewer cameras, lower `target_fps`, or "
    "add a GPU.",
    "invalid_setting": "Correct the setting that is named, in config.json or the environment, and restart.",
    "internal_error": "A part of the worker failed: look into the log, restart the worker, and report it.",
}

EMBEDDED_AWAY: Final = (
    "This server is a part of the worker, which starts it again by itself. If it stays away, see its log in "
    "the folder `embedded` below `data_dir`, and the disk's room. What waits is kept on disk and sent by "
    "itself."
)
"""Of a server that archives name `embedded`."""
SEVERAL_AWAY: Final = (
    "Look for what they have in common: a switch, their power, a recorder, this machine's network; not the "
    "cameras one by one. They are tried again by themselves."
)
"""Where most cameras have stopped sending."""
NO_BACKEND: Final = (
    "Check that it runs, that its token is right, and the network between. Its cameras end a while after it "
    "has gone, and come back with it."
)
