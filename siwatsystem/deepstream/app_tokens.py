"""Tokens of launched apps: each opens the apps' WebSocket for one instance, while that app lives.

An app is told its token in the environment; here, and on the disk beside the record of its process, is only
the token's digest. So an app that outlived a server is known to the next one, and who reads the folder learns
no token.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import threading
from pathlib import Path

log = logging.getLogger(__name__)

_SUFFIX = ".token"
_DIGEST_CHARACTERS = 64


class AppTokens:
    """From any thread; only `issue` waits for the disk. `folder` may come to be later; what it holds is known
    from the start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        """Held for a moment: the event loop takes it."""
        self._disk = threading.Lock()
        self._ended: set[str] = set()
        """Whose files are to be deleted, by the one thread that does it while there are any."""
        self._is_deleting = False
        self._digests: dict[str, str] = {}
        """By instance id."""
        self._instances: dict[str, str] = {}
        """By digest."""
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(OSError, ValueError):
                digest = path.read_text(encoding="ascii").strip()
                if len(digest) == _DIGEST_CHARACTERS:
                    self._keep(path.name.removesuffix(_SUFFIX), digest)

    def issue(self, instance_id: str) -> str:
        """A new token (256 random bits) for an app that is about to be launched; one before it ends."""
        token = f"app_{secrets.token_urlsafe(32)}"
        with self._lock:
            self._keep(instance_id, _digest(token))
        self._bring_to_disk(instance_id)
        return token

    def instance(self, token: str) -> str | None:
        """Whose token it is."""
        return self._instances.get(_digest(token))

    @property
    def instances(self) -> list[str]:
        """Who has one."""
        with self._lock:
            return list(self._digests)

    def end(self, instance_id: str) -> None:
        """Its app has ended: the token opens nothing from now on; its file goes soon. Never raises."""
        with self._lock:
            digest = self._digests.pop(instance_id, None)
            if digest is not None:
                self._instances.pop(digest, None)
            self._ended.add(instance_id)
            begins, self._is_deleting = not self._is_deleting, True
        if not begins:
            return
        try:
            threading.Thread(target=self._delete, name="app-tokens", daemon=True).start()
        except RuntimeError as error:  # the system has no thread left; the next end tries again
            log.warning("the token of %s: its file stays for now: %s", instance_id, error)
            with self._lock:
                self._is_deleting = False

    def _delete(self) -> None:
        """Until nothing is left to delete."""
        while True:
            with self._lock:
                if not self._ended:
                    self._is_deleting = False
                    return
                instance_id = self._ended.pop()  # before: it may end anew meanwhile
            self._bring_to_disk(instance_id)

    def _keep(self, instance_id: str, digest: str) -> None:
        self._instances.pop(self._digests.get(instance_id, ""), None)
        self._digests[instance_id] = digest
        self._instances[digest] = instance_id

    def _bring_to_disk(self, instance_id: str) -> None:
        """What is known now. Without its file an app is not known to the next server, but it works."""
        path = self._path(instance_id)
        fresh = path.with_name(f"{path.name}.new")
        with self._disk:
            digest = self._digests.get(instance_id)
            try:
                if digest is None:
                    path.unlink(missing_ok=True)
                    return
                descriptor = os.open(
                    fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
                )
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(digest)
                fresh.replace(path)
            except OSError as error:
                log.warning("the token of %s: %s cannot be brought up to date: %s", instance_id, path, error)

    def _path(self, instance_id: str) -> Path:
        return self._folder / f"{instance_id}{_SUFFIX}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
