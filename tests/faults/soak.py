"""Hours of faults: a worker with two cameras, a random fault a minute, and what became of it.

    python -m tests.faults.soak --minutes 120 [--every 60] [--seed 1] [--folder build/soak]
                                [--picture docs/images/soak.png] [--page]

`samples.csv` and `faults.jsonl` in the folder are written as it goes. SIGINT and SIGTERM end it early,
with picture and verdict. Status 1 where a promise was broken.
"""

import json
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from tests.faults import page, soak_picture, verdict
from tests.faults.promise import Figure
from tests.faults.records import Moment, missing, out_of_order
from tests.faults.samples import Sampler
from tests.faults.scene import CAMERAS, FRAMES_PER_SEC, Scene, scene, total
from tests.faults.troubles import TROUBLES, Trouble
from tests.faults.verdict import Delivered, Held, Outage, Ran
from tests.servers import open_folder, until

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SEC = 60.0
"""For frames to come again, before the soak goes on without them."""
DRAIN_SEC = 120.0
SETTLE_SEC = 180.0
MODEL = "7"
"""The id of the model that both cameras run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a soak is run; times in seconds."""

    lasts_sec: float
    every_sec: float = 60.0
    fault_sec: tuple[float, float] = (5.0, 40.0)
    sample_sec: float = 5.0
    picture_sec: float = 600.0
    calm_sec: float = 8.0
    seed: int = 1
    troubles: Sequence[Trouble] = TROUBLES

    def deck(self, chance: random.Random) -> Iterator[Trouble]:
        """Faults at random, for ever; none comes again before all others were there."""
        while True:
            yield from chance.sample(self.troubles, len(self.troubles))


@dataclass
class Soak:
    """One soak of a scene. `stop` ends it early."""

    here: Scene
    plan: Plan
    folder: Path
    picture: Path
    stop: threading.Event
    outages: list[Outage] = field(default_factory=list)
    images: set[Moment] = field(default_factory=set)
    unplayed: int = 0
    began: float = field(default_factory=time.monotonic)

    def run(self) -> list[Figure]:
        """Play it all. Returns what was measured."""
        here = self.here
        until(lambda: len(here.backend.online) == len(CAMERAS), 240)
        with Sampler(here, self.folder / "samples.csv", self.began, self.plan.sample_sec) as sampler:
            self._settle()
            self._fill_the_pools()
            before, more_threads = self._held(), verdict.MORE_THREADS
            begun = drawn = time.monotonic()
            for trouble in self.plan.deck(here.chance):
                if self._over(begun):
                    break
                self._play(trouble)
                if time.monotonic() - drawn > self.plan.picture_sec:
                    drawn = time.monotonic()
                    soak_picture.draw(list(sampler.samples), self.outages, self.picture)
            after = self._held() if here.alive else before
            if after.threads > before.threads + verdict.MORE_THREADS and here.alive:
                # A pool's threads begin as work waits for them, and stay; a leak grows with each round.
                for trouble in self.plan.troubles:
                    self._play(trouble)
                before, more_threads = replace(before, threads=after.threads), 1
                after = self._held() if here.alive else after
        delivered = self._delivered()
        soak_picture.draw(sampler.samples, self.outages, self.picture)
        ran = Ran(
            alive=here.alive,
            unanswered=sampler.unanswered,
            closed=here.backend.closed,
            tracebacks=here.worker.process.log.read_text(errors="replace").count("Traceback"),
            failed_parts=sampler.samples[-1].failed_parts if sampler.samples else 0,
            unplayed=self.unplayed,
        )
        held = (before, after)
        return verdict.figures(sampler.samples, self.outages, held, delivered, ran, more_threads)

    def _over(self, begun: float) -> bool:
        late = time.monotonic() - begun >= self.plan.lasts_sec
        return late or self.stop.is_set() or not self.here.alive

    def _settle(self) -> None:
        """Let the worker compare its precisions: the faster one's networks are loaded beside the others."""
        ends = time.monotonic() + SETTLE_SEC
        while time.monotonic() < ends and not self.stop.is_set():
            precision = self.here.worker.json("/health")["precision"].get(MODEL, "")
            if precision.startswith("fast") or "set to exact" in precision:
                return
            self.stop.wait(1)

    def _fill_the_pools(self) -> None:
        """What is made at first use, threads of every pool among it, is there afterwards."""
        paths = [f"/camera/{one}/image?overlay=true" for one in CAMERAS.values()] * 16
        with ThreadPoolExecutor(16) as askers:
            list(askers.map(self.here.worker.get, paths))
        for trouble in self.plan.troubles:
            if trouble.name in ("subscriptions cycle", "client stuck"):
                with trouble.make(self.here):
                    self.stop.wait(self.plan.calm_sec)

    def _held(self) -> Held:
        """What the worker holds while only the cameras that stay are subscribed."""
        here = self.here
        with here.guest.resting():
            ends = time.monotonic() + PATIENCE_SEC
            while here.worker.json("/health")["subscriptions"] > len(CAMERAS) and time.monotonic() < ends:
                time.sleep(0.2)
            time.sleep(self.plan.calm_sec)
            process = here.process
            return Held(process.num_threads(), process.num_fds(), len(process.children(recursive=True)))

    def _play(self, trouble: Trouble) -> None:
        """One fault, its end, and calm until the next one is due."""
        due = time.monotonic() + self.plan.every_sec
        try:
            outage = self._outage(trouble)
        except Exception:
            self.unplayed += 1
            print(f"{trouble.name}: it could not be played", flush=True)
            traceback.print_exc()
        else:
            self.outages.append(outage)
            with (self.folder / "faults.jsonl").open("a") as output:
                output.write(json.dumps(asdict(outage)) + "\n")
            print(_told(outage), flush=True)
        self.stop.wait(max(0.0, due - time.monotonic()))

    def _outage(self, trouble: Trouble) -> Outage:
        began, before = time.monotonic(), self._analysed()
        with trouble.make(self.here):
            self.stop.wait(self.here.chance.uniform(*self.plan.fault_sec))
            kept = self._kept(trouble, before, time.monotonic() - began)
        ended = time.monotonic()
        outage = Outage(trouble.name, began - self.began, ended - began, self._recovered(), kept)
        self.images |= self.here.there.images()
        return outage

    def _analysed(self) -> dict[str, float]:
        try:
            return self.here.analysed()
        except OSError:
            return dict.fromkeys(CAMERAS, float("nan"))

    def _kept(self, trouble: Trouble, before: dict[str, float], seconds: float) -> float:
        """The share of their frames that the cameras had which the fault does not hit."""
        now = self._analysed()
        spared = [kind for kind in CAMERAS if kind != trouble.hits]
        return sum(now[kind] - before[kind] for kind in spared) / seconds / FRAMES_PER_SEC / len(spared)

    def _recovered(self) -> float | None:
        """Seconds until each camera has given a frame and no server is away."""
        began, before = time.monotonic(), self._analysed()
        while time.monotonic() - began < PATIENCE_SEC and self.here.alive:
            now = self._analysed()
            try:
                if all(now[kind] > before[kind] for kind in CAMERAS) and not self.here.servers_away():
                    return time.monotonic() - began
            except OSError:
                pass
            time.sleep(0.1)
        return None

    def _delivered(self) -> Delivered:
        """End the subscriptions, let the outbox drain, and count what arrived."""
        here = self.here
        here.backend.unsubscribe()
        waiting = self._drained()
        series = here.metrics() if here.alive else {}
        outbox = here.worker.json("/health")["outbox"] if here.alive else {"failed": 0, "dropped": {}}
        told, written = here.backend.told, here.there.written()
        self.images |= here.there.images()
        rows = here.there.rows()

        def done(action: str) -> float:
            return total(series, "siwat_actions_total", f'action="{action}"', 'outcome="done"')

        return Delivered(
            told=len(told.moments),
            records_lost=len(missing(told.whole, written)),
            records_doubled=len(rows) - len(set(rows)),
            records_out_of_order=out_of_order(written),
            images_lost=len(missing(told.moments, self.images)),
            messages_lost=int(max(0.0, done("redis_save_image") - done("redis_publish"))),
            failed_or_dropped=outbox["failed"] + sum(outbox["dropped"].values()),
            waiting=waiting,
        )

    def _drained(self) -> int:
        """Actions that still wait after a while of calm."""
        time.sleep(2)
        ends = time.monotonic() + DRAIN_SEC
        while self.here.alive and (waiting := self.here.waiting()) and time.monotonic() < ends:
            time.sleep(0.2)
        return waiting if self.here.alive else -1


def _told(outage: Outage) -> str:
    recovered = "never" if outage.recovered_sec is None else f"{outage.recovered_sec:.1f} s"
    kept = f"cameras it spared kept {100 * outage.kept_rate:.0f} % of their rate"
    at = time.strftime("%H:%M:%S", time.gmtime(outage.began_sec))
    return f"{at} {outage.name} for {outage.lasted_sec:.0f} s: frames again after {recovered}, {kept}"


def soak(plan: Plan, folder: Path, picture: Path, stop: threading.Event, **env: str) -> list[Figure]:
    """Run one; its data is in a folder of its own and goes with it, what was measured stays in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.jsonl").unlink(missing_ok=True)
    with open_folder() as data, scene(data, random.Random(plan.seed), **env) as here:
        figures = Soak(here, plan, folder, picture, stop).run()
        (folder / "worker.log").write_bytes(here.worker.process.log.read_bytes())
        return figures


def _ends_early() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def main(
    minutes: Annotated[float, typer.Option(help="How long")] = 120,
    every: Annotated[float, typer.Option(help="Seconds from one fault to the next")] = 60,
    seed: Annotated[int, typer.Option(help="Of the order and the length of the faults")] = 1,
    folder: Annotated[Path, typer.Option(help="Where what is measured is written")] = ROOT / "build" / "soak",
    picture: Annotated[Path | None, typer.Option(help="PNG; in the folder")] = None,
    write: Annotated[bool, typer.Option("--page", help="Write the verdict into docs/reliability.md")] = False,
) -> None:
    """Soak, draw, judge."""
    plan = Plan(60 * minutes, every, seed=seed)
    figures = soak(plan, folder, picture or folder / "soak.png", _ends_early())
    told = page.soak_table(figures)
    print(told)
    (folder / "verdict.md").write_text(told + "\n", encoding="utf-8")
    if write:
        page.write("soak", told)
    sys.exit(0 if all(figure.kept for figure in figures) else 1)


if __name__ == "__main__":
    typer.run(main)
