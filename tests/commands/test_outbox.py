"""`siwat outbox` on a file that nobody uses, and beside an outbox that has it in use."""

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from siwatsystem.__main__ import app
from siwatsystem.actions import asking, delivery, schema
from siwatsystem.actions.base import Job, OutboxEvent
from siwatsystem.actions.guard import hold
from siwatsystem.actions.jobs import StoredJob
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.selection import Request, Selection
from siwatsystem.actions.targets import postgresql_target, redis_target
from siwatsystem.config import OutboxSettings
from siwatsystem.errors import ActionFailed, TargetUnavailable
from tests.servers import until

SECRET = "geheim"
SERVERS = {
    "redis": {"host": "10.0.0.5", "port": 6379, "password": SECRET, "username": "me"},
    "postgresql": {"host": "10.0.0.6", "port": 5432, "database": "d", "username": "me", "password": SECRET},
}


class Site:
    """An outbox whose servers are away until told otherwise, and refuse what says `bad`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.away = True
        self.refuses = True
        self.taken: list[str] = []
        # Whoever waits for the next attempt waits longer than a test.
        self.settings = OutboxSettings(retry_sec=600, retry_max_sec=600)
        self.open()

    def open(self) -> None:
        self.outbox = Outbox(self.settings, self.path)
        self.redis = self.outbox.register(redis_target(SERVERS["redis"]))
        self.postgresql = self.outbox.register(postgresql_target(SERVERS["postgresql"]))

    def fill(self) -> None:
        """An image and a message of session 41, a record of session 42, an image that is refused."""
        image = Job("redis_save_image", self.redis, {"key": "image:41"}, blob=b"\xff\xd8picture")
        message = Job("redis_publish", self.redis, {"channel": "cars", "message": '{"plate": "กข 1234"}'})
        self.outbox.submit(OutboxEvent((image, message), lane="41", subscription="display-001;cam-001"))
        fields = {
            "table": "cars",
            "key_field": "id",
            "key_value": "42",
            "fields": {"brand": "Kia"},
            "now": [],
        }
        record = Job("postgresql_update_combined", self.postgresql, fields)
        self.outbox.submit(OutboxEvent((record,), lane="42"))
        until(lambda: sum(self.outbox.depth().values()) == 3)

    def fail_one(self) -> None:
        bad = Job("redis_save_image", self.redis, {"key": "bad"}, blob=b"bad picture")
        self.away = False
        self.outbox.submit(OutboxEvent((bad,), lane="bad"))
        until(lambda: self.outbox.status()["failed"] == 1)
        self.away = True

    def deliver(self, job: StoredJob) -> None:
        if self.away:
            raise TargetUnavailable("connection refused")
        if job.payload.get("key") == "bad" and self.refuses:
            raise ActionFailed("WRONGTYPE not today")
        self.taken.append(job.kind)

    def counts(self) -> tuple[int, int]:
        with closing(sqlite3.connect(self.path)) as database:
            rows = [
                database.execute(f"SELECT count(*) FROM {table}").fetchone() for table in ("jobs", "failed")
            ]
        return rows[0][0], rows[1][0]

    def run(self, *words: str, **options: Any) -> Result:
        return CliRunner().invoke(app, ["outbox", *words, "--file", str(self.path)], **options)

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    class Sink:
        def __init__(self, config: Mapping[str, Any]) -> None:
            assert config["password"] == SECRET

        def deliver(self, job: StoredJob) -> None:
            made.deliver(job)

        def close(self) -> None: ...
        def cut(self) -> None: ...

    monkeypatch.setattr(delivery, "open_sink", lambda kind, config, *_, **__: Sink(config))
    made = Site(tmp_path / "outbox.sqlite")
    made.settings = OutboxSettings(retry_sec=600, retry_max_sec=600, max_attempts=1)
    made.outbox.close()
    made.open()
    yield made
    made.outbox.close()


@pytest.fixture(params=["in use", "not in use"])
def filled(site: Site, request: pytest.FixtureRequest) -> Site:
    site.fail_one()
    site.fill()
    until(lambda: all(one["error"] for one in site.outbox.status()["servers"]))
    if request.param == "not in use":
        site.outbox.close()
    return site


def test_list_shows_what_waits_and_why_and_no_secret(filled: Site) -> None:
    shown = filled.run("list")
    assert (shown.exit_code, shown.stderr) == (0, "")
    for words in (
        "redis at 10.0.0.5:6379", "postgresql at 10.0.0.6:5432", "redis_save_image", "redis_publish",
        "41", "42", "connection refused", "WRONGTYPE not today", "3 waiting, 1 failed",
    ):  # fmt: skip
        assert words in shown.stdout
    found = filled.json("list")
    assert [(job["kind"], job["state"], job["session"]) for job in found["jobs"]] == [
        ("redis_save_image", "waiting", "41"),
        ("redis_publish", "waiting", "41"),
        ("postgresql_update_combined", "waiting", "42"),
        ("redis_save_image", "failed", "bad"),
    ]
    assert (found["waiting"], found["failed"], found["shown"]) == (3, 1, 4)
    front = found["jobs"][0]["seq"]
    assert [job["behind"] for job in found["jobs"]] == [None, front, None, None]
    assert f"behind {front}" in shown.stdout
    assert f"behind {front}" in filled.run("show", str(found["jobs"][1]["seq"])).stdout
    assert [job["error"] for job in found["jobs"]] == [
        "connection refused",
        None,
        "connection refused",
        "WRONGTYPE not today",
    ]
    assert all(abs(time.time() - job["created"]) < 600 for job in found["jobs"])
    for command in (
        ("list",),
        ("show", str(found["jobs"][0]["seq"])),
        ("show", str(found["jobs"][2]["seq"])),
    ):
        for more in ((), ("--json",)):
            assert SECRET not in filled.run(*command, *more).output


def test_list_is_filtered(filled: Site) -> None:
    def kinds(*words: str) -> list[str]:
        return [job["kind"] for job in filled.json("list", *words)["jobs"]]

    assert kinds("--server", "postgresql") == ["postgresql_update_combined"]
    assert kinds("--server", "10.0.0.5", "--waiting") == ["redis_save_image", "redis_publish"]
    assert kinds("--kind", "redis_publish") == ["redis_publish"]
    assert kinds("--session", "42") == ["postgresql_update_combined"]
    assert kinds("--failed") == ["redis_save_image"]
    assert kinds("--older-than", "1h") == []
    assert len(kinds("--limit", "2")) == 2
    assert "2 more are not shown" in filled.run("list", "--limit", "2").stdout
    for wrong in (
        ("--server", "mars"), ("--kind", "pigeon"), ("--older-than", "soon"), ("--failed", "--waiting"),
    ):  # fmt: skip
        assert filled.run("list", *wrong).exit_code == 2


def test_show_is_readable_and_saves_the_picture(filled: Site, tmp_path: Path) -> None:
    image, message, record, bad = (job["seq"] for job in filled.json("list")["jobs"])
    shown = filled.run("show", str(message)).stdout
    assert '"plate": "กข 1234"' in shown
    assert "display-001;cam-001" in shown
    assert "Kia" in filled.run("show", str(record)).stdout
    assert filled.json("show", str(image))["picture_bytes"] == 9
    assert filled.run("show", str(image), "--save", str(tmp_path / "one.jpg")).exit_code == 0
    assert (tmp_path / "one.jpg").read_bytes() == b"\xff\xd8picture"
    assert filled.run("show", str(bad), "--save", str(tmp_path / "bad.jpg")).exit_code == 0
    assert (tmp_path / "bad.jpg").read_bytes() == b"bad picture"
    missing = filled.run("show", "999")
    assert (missing.exit_code, missing.stderr) == (1, "siwat: there is no action 999 in the outbox\n")
    assert filled.run("show", str(record), "--save", str(tmp_path / "none")).exit_code == 1


def test_drop_asks_counts_and_drops(filled: Site) -> None:
    image = filled.json("list")["jobs"][0]["seq"]
    assert filled.run("drop").exit_code == 2
    refused = filled.run("drop", "--all", input="n\n")
    assert refused.exit_code == 1
    assert "Drop 3 waiting and 1 failed" in refused.stderr
    nobody = filled.run("drop", "--all", input="")
    assert (nobody.exit_code, "--yes" in nobody.stderr) == (1, True)
    assert filled.counts() == (3, 1)
    running = not filled.outbox._closing
    dropped = {"waiting": 1, "failed": 0, "left": 0, "error": None, "running": running}
    assert filled.json("drop", str(image), "--yes") == dropped
    assert filled.counts() == (2, 1)
    gone = filled.run("drop", str(image), "--yes")
    assert (gone.exit_code, gone.output) == (1, f"siwat: there is no such action in the outbox: {image}\n")
    assert filled.run("drop", "--older-than", "1h", "--yes").exit_code == 0
    assert filled.run("drop", "--server", "postgresql", input="y\n").exit_code == 0
    assert filled.counts() == (1, 1)
    assert filled.run("drop", "--failed", "--yes").exit_code == 0
    assert filled.counts() == (1, 0)
    assert filled.json("list")["jobs"][0]["kind"] == "redis_publish"


def test_what_was_dropped_and_retried_is_delivered_and_counted_by_the_worker(filled: Site) -> None:
    used = not filled.outbox._closing
    filled.run("drop", "--kind", "redis_save_image", "--waiting", "--yes")
    if not used:
        filled.open()
    assert (filled.outbox.status()["depth"], filled.outbox.status()["failed"]) == (2, 1)
    until(lambda: [bool(one["error"]) for one in filled.outbox.status()["servers"]] == [True, True])
    filled.away, filled.refuses = False, False
    time.sleep(0.2)
    assert filled.taken == []  # Its servers are asked again in 10 minutes only.
    answer = {"waiting": 2, "failed": 1, "left": 0, "error": None, "running": True}
    assert filled.json("retry") == answer
    until(lambda: sorted(filled.taken) == ["postgresql_update_combined", "redis_publish", "redis_save_image"])
    until(lambda: not filled.outbox.status()["depth"])
    assert (filled.outbox.status()["failed"], filled.outbox.status()["bytes"]) == (0, 0)
    assert filled.counts() == (0, 0)


def test_retry_says_who_tries_and_what_is_not_there(filled: Site) -> None:
    waits = next(job["seq"] for job in filled.json("list")["jobs"] if job["state"] == "waiting")
    when = (
        "tried as soon as a worker starts: none has this outbox in use"
        if filled.outbox._closing
        else "tried again"
    )
    done = filled.run("retry", "--waiting")
    assert (done.exit_code, done.output) == (0, f"3 waiting and 0 failed are {when}\n")
    some = filled.run("retry", str(waits), "999", "998")
    assert (some.exit_code, some.stdout) == (1, f"1 waiting and 0 failed are {when}\n")
    assert some.stderr == "siwat: there is no such action in the outbox: 998, 999\n"
    none = filled.run("retry", "999")
    assert (none.exit_code, none.stdout) == (1, "")
    assert none.stderr == "siwat: there is no such action in the outbox: 999\n"


def test_a_number_that_does_not_fit_the_options_is_not_told_as_gone(filled: Site) -> None:
    jobs = filled.json("list")["jobs"]
    waits, failed = (
        next(job["seq"] for job in jobs if job["state"] == state) for state in ("waiting", "failed")
    )
    unfit = "in the outbox, but not what the options ask for"
    none = filled.run("retry", str(waits), "--failed")
    assert (none.exit_code, none.output) == (1, f"siwat: {unfit}: {waits}\n")
    some = filled.run("drop", str(waits), str(failed), "999", "--failed", "--yes")
    assert (some.exit_code, some.stdout) == (1, "0 waiting and 1 failed were dropped\n")
    assert some.stderr == f"siwat: there is no such action in the outbox: 999; {unfit}: {waits}\n"
    assert filled.counts() == (3, 0)


def test_a_worker_that_does_not_answer_is_told_and_does_nothing_later(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fill()
    site.outbox.close()
    monkeypatch.setattr(asking, "ask", lambda path, request: asking._ask(path, request, 0.3))
    monkeypatch.setattr(
        "siwatsystem.commands.outbox.ask", lambda path, request: asking._ask(path, request, 0.3)
    )
    with closing(hold(site.path)):
        done = site.run("drop", "--all", "--yes")
    assert done.exit_code == 1
    assert "did not answer" in done.stderr
    site.open()
    assert site.outbox.status()["depth"] == 3


def test_who_stops_waiting_takes_the_request_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.fill()
    site.outbox.close()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        asking, "time", SimpleNamespace(time=time.time, monotonic=time.monotonic, sleep=interrupt)
    )
    with closing(hold(site.path)), pytest.raises(KeyboardInterrupt):
        asking.ask(site.path, Request("drop", Selection()))
    site.open()
    time.sleep(1.2)  # So soon requests are carried out.
    assert site.outbox.status()["depth"] == 3


def test_dropping_makes_room_on_a_full_disk(site: Site) -> None:
    def image(lane: str, size: int) -> None:
        job = Job("redis_save_image", site.redis, {"key": lane}, blob=bytes(size))
        site.outbox.submit(OutboxEvent((job,), lane=lane))

    image("old", 100_000)
    until(lambda: site.outbox.status()["depth"] == 1)
    with site.outbox._store.lock:
        pages = site.outbox._store._db.execute("PRAGMA page_count").fetchone()[0]
        site.outbox._store._db.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    image("new", 50_000)
    until(lambda: any("cannot be written" in words for words in site.outbox.status()["degraded"]))
    assert site.json("drop", "--session", "old", "--yes")["waiting"] == 1
    until(lambda: not site.outbox.status()["pending"])
    assert [job["session"] for job in site.json("list")["jobs"]] == ["new"]
    assert not any("cannot be written" in words for words in site.outbox.status()["degraded"])


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    def told(path: Path) -> str:
        done = CliRunner().invoke(app, ["outbox", "list", "--file", str(path)])
        assert done.exit_code == 1
        return done.stderr

    assert "there is no outbox" in told(tmp_path / "none.sqlite")
    (tmp_path / "junk.sqlite").write_bytes(b"junk" * 1000)
    assert "cannot be read" in told(tmp_path / "junk.sqlite")
    for version in (1, schema.VERSION + 1):
        with closing(sqlite3.connect(tmp_path / "other.sqlite")) as database:
            database.execute(f"PRAGMA user_version = {version}")
        assert f"version {version}" in told(tmp_path / "other.sqlite")
        assert f"{schema.VERSION}" in told(tmp_path / "other.sqlite")
