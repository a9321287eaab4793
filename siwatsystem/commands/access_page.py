"""docs/access.md: who may do what, read off the application itself."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fastapi import FastAPI
from starlette.routing import Mount, Route, WebSocketRoute

from siwatsystem.config import Settings
from siwatsystem.messages import COMMAND_TYPES
from siwatsystem.web.access import needed_role

HEADER = """# Who may

Generated from the routes of both servers by `make docs`. `open`: everybody; `view`: the view or the
control token (or a login with one); `control`: the control token (or a login with it). What is not listed
needs `view` to be read, and `control` for every method but GET, HEAD and OPTIONS.

| tokens set | `view` has | `control` has |
|---|---|---|
| none | everybody | everybody |
| control | the control token | the control token |
| view | the view token | everybody |
| both | either token | the control token |

Whatever the tokens: a WebSocket, and a request that changes something, is refused when a page of another site
asks (`Origin`), and without a control token also when a browser asks under a name that is neither an address,
`localhost` nor one of `hostnames`. After 20 different wrong tokens from an address one a second is looked at
(429). [SECURITY.md](../SECURITY.md) says what all this is for.

## The worker

"""
ROUTES = """| method | path | needs |
|---|---|---|
"""
COMMANDS = """
| command on `WS /` | needs |
|---|---|
"""
CONTROL = """
## The control server

`WS /deepstream/ws` is also open to an app that the server has launched, with the token that this launch was
given: as that instance alone, until the app has ended. `/deepstream/test` answers 403 to everybody where the
test routes are off (`control.test_routes`).

"""


class Door(NamedTuple):
    """One way in. `method` is `WS` for a WebSocket; a mounted folder's path ends with `/…`."""

    method: str
    path: str

    @property
    def needs(self) -> str:
        path = self.path.removesuffix("…")
        return (
            needed_role("websocket", path) if self.method == "WS" else needed_role("http", path, self.method)
        )


def doors(app: FastAPI) -> list[Door]:
    """Every way into `app`. Raises TypeError for a kind of route that nobody thought of."""
    return sorted(set(_doors(app.routes, "")), key=lambda door: (door.path, door.method))


def _doors(routes: Iterable[Any], prefix: str) -> Iterator[Door]:
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _doors(included.routes, prefix + route.include_context.prefix)
        elif isinstance(route, Mount):
            if route.routes:
                yield from _doors(route.routes, prefix + route.path)
            else:
                yield from (Door(method, f"{prefix}{route.path}/…") for method in ("GET", "HEAD"))
        elif isinstance(route, WebSocketRoute):
            yield Door("WS", prefix + route.path)
        elif isinstance(route, Route):
            yield from (Door(method, prefix + route.path_format) for method in route.methods or ())
        else:
            raise TypeError(f"a {type(route).__name__} is no route that is known here")


def access_page() -> str:
    """The tables of every route and command of both servers, as Markdown."""
    from siwatsystem.app import create_app
    from siwatsystem.deepstream.application import create_app as create_control

    commands = [f"| `{command}` | {needed_role('websocket', '/')} |\n" for command in COMMAND_TYPES]
    settings = Settings()
    worker, control = _rows(create_app(settings)), _rows(create_control(settings))
    return "".join((HEADER, ROUTES, *worker, COMMANDS, *commands, CONTROL, ROUTES, *control))


def _rows(app: FastAPI) -> list[str]:
    return [f"| {door.method} | `{door.path}` | {door.needs} |\n" for door in doors(app)]
