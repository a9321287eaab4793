"""Archives for tests: the demo's, with another pipeline.json or with something wrong in them."""

import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DEMO = Path(__file__).parent.parent.parent / "demo" / "demo.mpta"


def repack(target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The demo's archive with its pipeline.json changed in place by `change`."""
    with zipfile.ZipFile(DEMO) as source, zipfile.ZipFile(target, "w") as result:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("pipeline.json"):
                pipeline = json.loads(data)
                change(pipeline)
                data = json.dumps(pipeline).encode()
            result.writestr(name, data)
    return target


class _Counting(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]


class Shelf:
    """A folder of archives behind a real HTTP server, which counts its requests."""

    def __init__(self, folder: Path, server: ThreadingHTTPServer) -> None:
        self.folder = folder
        self._server = server
        self.requests: list[str] = server.requests  # type: ignore[attr-defined]

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@contextmanager
def shelf(folder: Path) -> Iterator[Shelf]:
    """Serve `folder` for as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Counting, directory=str(folder)))
    server.requests = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, name="shelf")
    thread.start()
    try:
        yield Shelf(folder, server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
