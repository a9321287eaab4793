"""`python -m demo`: the worker on demo cameras, to look at; `--check` proves that it works and ends."""

import asyncio
import contextlib
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from demo.backend import Backend
from demo.check import Tally, cars_of, finished_records, stored_images
from demo.site import ROOT, Site

console = Console(highlight=False)
CHECK_SEC = 90.0
START_SEC = 30.0
LOOK_SEC = 0.5
"""Between two looks whether the worker still runs."""


def demo(
    check: Annotated[bool, typer.Option(help="Run headless, exit 0 only if everything was seen")] = False,
    port: Annotated[
        int, typer.Option(help="The worker's port; another free one if it is taken", min=0, max=65535)
    ] = 8000,
    data: Annotated[Path, typer.Option(help="Folder for models, outbox, databases and logs")] = ROOT
    / ".demo",
    seconds: Annotated[float, typer.Option(help="With --check: the longest it may take")] = CHECK_SEC,
) -> None:
    """Start cameras, worker, databases and a backend, and print where to look."""
    if check:
        data = data / "check"
        shutil.rmtree(data, ignore_errors=True)
        port = 0
    try:
        with Site(data_dir=data, port=port) as site:
            status = asyncio.run(_run(site, seconds if check else None))
    except RuntimeError as error:
        console.print(f"[red]{escape(str(error))}", soft_wrap=True)
        status = 1
    raise typer.Exit(status)


async def _run(site: Site, seconds: float | None) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    began = time.monotonic()
    await _until_ready(site)
    for note in site.notes:
        console.print(f"[yellow]note:[/] {note}")
    tally = Tally({identifier: cars_of(clip) for identifier, clip in site.clips.items()})
    listener = tally.take if seconds is not None else _printer(tally)
    backend = Backend(
        f"ws://127.0.0.1:{site.port}/",
        site.archive_url,
        site.cameras,
        listener,
        visit_sec=10 if seconds else 20,
    )
    task = asyncio.create_task(backend.run())
    try:
        if seconds is None:
            _where_to_look(site)
            return await _play(site, stopped)
        wrong = await _watch(site, tally, stopped, began + seconds)
    finally:
        # Before the worker ends: that it does is then no loss of a connection.
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return await _judge(site, tally, wrong)


async def _play(site: Site, stopped: asyncio.Event) -> int:
    """Until somebody stops it, or the worker ends. Returns the exit status."""
    while not stopped.is_set():
        if site.worker.ending():
            console.print(f"[red]{escape(site.ended())}", soft_wrap=True)
            return 1
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), LOOK_SEC)
    return 0


async def _until_ready(site: Site) -> None:
    deadline = time.monotonic() + START_SEC
    while not await asyncio.to_thread(site.ready):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the worker does not answer:\n{site.worker.tail()}")
        await asyncio.sleep(0.1)


def _where_to_look(site: Site) -> None:
    console.print(f"\n[bold]Dashboard[/]  {site.url}/")
    for camera in site.cameras:
        console.print(f"[bold]Camera[/]     {camera.identifier}  {camera.address}")
        console.print(f"           {site.url}/camera/{camera.identifier}/image?overlay=1", soft_wrap=True)
    console.print(f"[bold]API[/]        {site.url}/docs   WebSocket ws://127.0.0.1:{site.port}/")
    console.print(f"[bold]Redis[/]      127.0.0.1:{site.redis_port}, password in embedded/redis.password")
    console.print(f"[bold]PostgreSQL[/] 127.0.0.1:{site.postgresql_port}, password beside it")
    console.print(f"[bold]Logs[/]       {site.data_dir}/logs")
    console.print("Ctrl-C ends everything. The first cars appear once the models are prepared.\n")


def _printer(tally: Tally) -> Any:
    def show(message: dict[str, Any]) -> None:
        tally.take(message)
        if message["type"] == "imageDetection":
            seen = message["data"]["detection"]
            car = " ".join(str(seen[key]) for key in ("carBrand", "bodyType") if key in seen)
            when, who = message["timestamp"][11:19], message["subscriptionIdentifier"]
            console.print(f"{when}  {who:28} {car or seen['class']:24} {seen['confidence']:.2f}")
        elif message["type"] == "error":
            over = message.get("resolved")
            code = f"[green]{message['code']} is over[/]" if over else f"[yellow]{message['code']}[/]"
            console.print(f"{code}: {escape(message['error'])}")

    return show


async def _watch(site: Site, tally: Tally, stopped: asyncio.Event, deadline: float) -> list[str]:
    """Wait until everything was seen, at the longest until `deadline`. Returns what was not."""
    wrong = ["nothing yet"]
    while time.monotonic() < deadline and not stopped.is_set() and not site.worker.ending():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), 1.0)
        wrong = tally.missing() or await asyncio.to_thread(_stores, site)
        if not wrong:
            break
    return wrong


async def _judge(site: Site, tally: Tally, wrong: list[str]) -> int:
    """End the worker and print what was seen, and what is wrong. Returns the exit status."""
    if await asyncio.to_thread(site.worker.stop) != 0:
        wrong = [*wrong, site.ended()]
    for identifier, counter in tally.seen.items():
        cars = ", ".join(f"{brand} {body} × {count}" for (brand, body), count in counter.most_common())
        console.print(f"{identifier}: {cars}")
    for line in [*wrong, *(f"told: {error}" for error in dict.fromkeys(tally.errors))]:
        console.print(f"[red]{escape(line)}", soft_wrap=True)
    if wrong:
        console.print(f"[red]demo check failed[/]\n{escape(site.worker.tail())}")
        return 1
    console.print("[green]demo check passed:[/] every camera, an image in Redis, a record in PostgreSQL")
    return 0


def _stores(site: Site) -> list[str]:
    found: list[str] = []
    try:
        if stored_images(site.data_dir, site.redis_port) == 0:
            found.append("no image in Redis")
        if not finished_records(site.data_dir, site.postgresql_port):
            found.append("no finished record in PostgreSQL")
    except Exception as error:  # a database that is not up yet is one more thing that is missing
        found.append(f"{type(error).__name__}: {error}")
    return found


if __name__ == "__main__":
    sys.exit(typer.run(demo))
