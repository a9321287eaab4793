"""Archives: fetched once for all who ask, kept across restarts, never changed under their users."""

import contextlib
import logging
import stat
import threading
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from siwatsystem.archive_shelf import Copy, Shelf, evict, shelf_name
from siwatsystem.config import ModelSettings, load_settings
from siwatsystem.download import Download, bare_url
from siwatsystem.errors import ModelDownloadFailed, ModelError, ModelInvalid, ModelNotFound
from siwatsystem.logs import redact

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Model id and URL without its query."""


@dataclass(eq=False)
class _Flight:
    """A fetch under way and those who wait for it."""

    done: "Future[Copy]" = field(default_factory=Future[Copy])
    users: list[str] = field(default_factory=list[str])
    download: Download | None = None


@dataclass(frozen=True, slots=True)
class _Hold:
    """One user's claim on a copy, which keeps it from being evicted."""

    model_id: str
    user: str
    copy: Copy


class ArchiveStore:
    """The archives below `root`, which is `models/` of the data directory. All calls may come from
    any thread."""

    def __init__(self, settings: ModelSettings, root: Path, allow_file: bool = False) -> None:
        self._settings = settings
        self._root = root.absolute()
        _close_to_others(self._root)
        self._allow_file = allow_file
        self._lock = threading.Lock()
        self._flights: dict[Key, _Flight] = {}
        self._holds: list[_Hold] = []
        self._closed = False

    def get(self, model_id: int | str, url: str, user: str) -> Path:
        """The unpacked archive's folder, which stays as it is until `user` releases it.

        It holds pipeline.json and what that names; for the address of a bare `.pt` or `.onnx`
        only that file. The server is asked whether it changed, also while others hold a copy: they
        keep theirs as it is. An earlier copy is used when the server is away.
        Blocks, up to the download's deadline. Raises ModelDownloadFailed (passing), ModelNotFound,
        ModelInvalid, ModelRefused.
        """
        return self.take(model_id, url, user).folder

    def take(self, model_id: int | str, url: str, user: str, allow_file: bool = False) -> Copy:
        """`get`, with all that is known of the copy; `allow_file` lets this one be a file's address."""
        key = (str(model_id), bare_url(url))
        with self._lock:
            if self._closed:
                raise ModelDownloadFailed("the archive store is closed")
            flight = self._flights.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flights[key] = _Flight()
            flight.users.append(user)
        if mine:
            self._fly(flight, key, url, allow_file)
        return flight.done.result()

    def release(self, model_id: int | str, user: str, url: str | None = None) -> None:
        """Give back one `get` of `user`: of `url` where given, else the oldest. Unknown ones are ignored."""
        wanted = None if url is None else bare_url(url)
        with self._lock:
            for hold in self._holds:
                if (hold.model_id, hold.user) == (str(model_id), user) and wanted in (None, hold.copy.url):
                    self._holds.remove(hold)
                    break

    def status(self) -> dict[str, Any]:
        """`{total_mpta_models, models: {id: {shared_path, reference_count, cameras_using}},
        total_references, active_downloads}`; `active_downloads` lists model ids."""
        with self._lock:
            models: dict[str, dict[str, Any]] = {}
            for hold in self._holds:
                entry = models.setdefault(
                    hold.model_id,
                    {"shared_path": str(hold.copy.folder), "reference_count": 0, "cameras_using": []},
                )
                entry["reference_count"] += 1
                entry["cameras_using"].append(hold.user)
            return {
                "total_mpta_models": len(models),
                "models": models,
                "total_references": len(self._holds),
                "active_downloads": sorted({model_id for model_id, _ in self._flights}),
            }

    def close(self) -> None:
        """Cancel what is being fetched, and hand out nothing any more. What is on the disk stays."""
        with self._lock:
            self._closed = True
            self._holds.clear()
            downloads = [flight.download for flight in self._flights.values()]
        for download in downloads:
            if download is not None:
                download.cancel("the worker is closing")

    def _fly(self, flight: _Flight, key: Key, url: str, allow_file: bool) -> None:
        """Fetch for all who wait, and give each a hold before anything can be evicted."""
        copy: Copy | None = None
        error: BaseException | None = None
        try:
            copy = self._fetch(flight, key, url, allow_file)
        except OSError as failed:
            error = ModelDownloadFailed(f"the archive cannot be stored: {failed.strerror or failed}")
        except BaseException as failed:
            error = failed
        with self._lock:
            del self._flights[key]
            self._forget_empty(shelf_name(key[0]))
            if copy is not None and not self._closed:
                self._holds += [_Hold(key[0], user, copy) for user in flight.users]
        if copy is None:
            flight.done.set_exception(error or ModelDownloadFailed())
            return
        self._make_room()
        flight.done.set_result(copy)

    def _fetch(self, flight: _Flight, key: Key, url: str, allow_file: bool) -> Copy:
        shelf = Shelf(self._root / shelf_name(key[0]), self._settings)
        shelf.clear()
        known = self._find(shelf, key[1])
        with self._lock:
            if self._closed:
                raise ModelDownloadFailed("the archive store is closed")
            allowed = self._allow_file or allow_file
            flight.download = Download(url, part := shelf.part(), self._settings, allowed)
            held = any((hold.model_id, hold.copy.url) == key for hold in self._holds)
        try:
            fetched = flight.download.run(None if known is None else known.version)
            if fetched is None:
                assert known is not None
                return shelf.record(replace(known, version=flight.download.version or known.version))
            with _passing(not fetched.length_known):
                return shelf.put(key[1], part, fetched)
        except (ModelDownloadFailed, ModelNotFound) as error:
            # An archive that somebody laid there is meant to be used, whatever the address says; one
            # that is in use may come from an address whose signature has run out meanwhile.
            if known is None or (error.permanent and known.stamp is None and not held):
                raise
            log.warning("model %s: %s; the copy of before is used", key[0], error.message)
            return shelf.record(known)
        finally:
            part.unlink(missing_ok=True)

    def _forget_empty(self, name: str) -> None:
        """Leave no folder behind for an archive that could not be fetched: ids come from outside and are
        without number. Under the lock: who fetches to that folder is known, or begins afterwards."""
        if all(shelf_name(model_id) != name for model_id, _ in self._flights):
            with contextlib.suppress(OSError):  # it holds something, as it mostly does
                (self._root / name).rmdir()

    def _find(self, shelf: Shelf, url: str) -> Copy | None:
        try:
            return shelf.find(url)
        except ModelError as error:
            log.warning("the archive in %s cannot be used: %s", shelf.folder, error.message)
            return None

    def _make_room(self) -> None:
        with self._lock:
            used = {hold.copy.folder for hold in self._holds}
            busy = bool(self._flights)
            try:
                # What a fetch has just unpacked is held by nobody yet; the next one makes the room.
                if not busy:
                    evict(self._root, self._settings.cache_mb << 20, used)
            except OSError as error:
                log.warning("the archive cache could not be made smaller: %s", error)


def _close_to_others(root: Path) -> None:
    """Archives hold the databases' passwords. A folder that is there keeps what its group may."""
    # Where it cannot be made, whoever fetches to it is told.
    with contextlib.suppress(OSError):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(stat.S_IMODE(root.stat().st_mode) & ~stat.S_IRWXO)


@contextlib.contextmanager
def _passing(may_be_cut: bool) -> Generator[None]:
    """Where nobody said how long the file is, a broken one may be a cut one: worth another try."""
    try:
        yield
    except ModelInvalid as error:
        if may_be_cut:
            raise ModelDownloadFailed(error.message) from None
        raise


_shared: ArchiveStore | None = None
_is_ours = False
"""Whether `_shared` was made here, not installed by who closes it."""
_shared_lock = threading.Lock()


def set_default_store(store: ArchiveStore | None) -> None:
    """Install the store that the module's functions work on; one that they made before is closed."""
    global _shared, _is_ours
    with _shared_lock:
        before = _shared if _is_ours else None
        _shared, _is_ours = store, False
    if before is not None:
        before.close()


def get_or_download_mpta(model_id: int | str, model_url: str, camera_id: str) -> tuple[str, str] | None:
    """The unpacked archive's folder and the archive itself, held for `camera_id` until `release_mpta`.

    `model_url` may be a `file://` address. None on failure, which is logged.
    """
    try:
        copy = _store().take(model_id, model_url, camera_id, allow_file=True)
    except ModelError as error:
        log.error("model %s: %s", model_id, redact(error.message))
        return None
    return str(copy.folder), str(copy.file)


def release_mpta(model_id: int | str, camera_id: str) -> None:
    """Give back one `get_or_download_mpta`."""
    if _shared is not None:
        _shared.release(model_id, camera_id)


def get_mpta_manager_status() -> dict[str, Any]:
    """What is held and being fetched, as `ArchiveStore.status` tells it."""
    return _store().status()


def cleanup_mpta_manager() -> None:
    """Forget all holds and end downloads; the next call begins anew. The disk keeps the archives.

    An installed store stays as it is: others use it, and it ends with the worker.
    """
    if _is_ours:
        set_default_store(None)


def _store() -> ArchiveStore:
    global _shared, _is_ours
    with _shared_lock:
        if _shared is None:
            settings = load_settings()
            _shared, _is_ours = ArchiveStore(settings.models, settings.data_dir / "models"), True
        return _shared
