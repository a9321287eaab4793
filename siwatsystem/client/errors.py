"""What a client can fail with. All of it is a `ClientError`."""

from siwatsystem.client.reading import WorkerError


class ClientError(Exception):
    """Something between this client and its worker went wrong."""


class Unreachable(ClientError):
    """No connection came about in time."""


class Unauthorized(ClientError):
    """The worker refuses this client: it has no token, a wrong one, or one that may not command."""


class Disconnected(ClientError):
    """The connection ended, or there is none. `code` and `reason` are those of WebSocket; 1006 where the
    worker said none."""

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        why = f": {reason}" if reason else ""
        super().__init__(
            f"the worker's connection is gone{why}"
            if code == 1006
            else f"the worker ended the connection ({code}{why})"
        )


class NoAnswer(ClientError, TimeoutError):
    """The worker did not answer in time, or was not connected meanwhile."""


class Refused(ClientError):
    """The worker refused a command; `error` is what it said."""

    def __init__(self, error: WorkerError) -> None:
        self.error = error
        super().__init__(f"{error.code}: {error.error}")


class PatchRefused(ClientError):
    """The worker did not merge a patch; the text is its own."""


class NoImage(ClientError):
    """The worker has no picture to give. `status` is that of HTTP: 404 where there is no such subscription,
    or no frame yet."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(f"{status}: {text}")
