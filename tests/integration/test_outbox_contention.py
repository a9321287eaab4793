"""Records that a lock or a slow statement in PostgreSQL holds up: nobody else waits for them."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from siwatsystem.actions.base import Job, OutboxEvent, Problem
from siwatsystem.actions.outbox import Outbox
from siwatsystem.actions.targets import postgresql_target
from siwatsystem.config import OutboxSettings
from tests.servers import PostgresServer, postgresql_server, servers, until

__all__ = ["postgresql_server", "servers"]


class Bench:
    """An outbox to a PostgreSQL with the tables `a` and `b`, each with the rows 0 to 9."""

    def __init__(self, path: Path, server: PostgresServer, **settings: Any) -> None:
        server.query("CREATE SCHEMA gas_station_1")
        for table in ("a", "b"):
            server.query(f"CREATE TABLE gas_station_1.{table} (id INT PRIMARY KEY, said TEXT)")
            server.query(f"INSERT INTO gas_station_1.{table} SELECT generate_series(0, 9)")
        self.server = server
        self.problems: list[Problem] = []
        self.outbox = Outbox(OutboxSettings(**settings), path, on_problem=self.problems.append)
        self.target = self.outbox.register(postgresql_target(server.config))

    def say(self, table: str, row: int, said: str) -> str:
        payload = {
            "table": table,
            "key_field": "id",
            "key_value": str(row),
            "fields": {"said": said},
            "now": [],
        }
        job = Job("postgresql_update_combined", self.target, payload)
        event = OutboxEvent((job,), lane=f"{table}{row}")
        self.outbox.submit(event)
        return event.event_id

    def said(self, table: str) -> dict[int, str]:
        return dict(self.server.query(f"SELECT id, said FROM gas_station_1.{table} WHERE said IS NOT NULL"))

    @contextmanager
    def session(self) -> Iterator[Any]:
        """A transaction of somebody else."""
        config = self.server.config
        connection = psycopg2.connect(
            host=config["host"], port=config["port"], dbname=config["database"],
            user=config["username"], password=config["password"],
        )  # fmt: skip
        with closing(connection), connection.cursor() as cursor:
            yield cursor
            connection.rollback()


@pytest.fixture
def bench(tmp_path: Path, postgresql_server: PostgresServer) -> Iterator[Bench]:
    made = Bench(
        tmp_path / "outbox.db", postgresql_server, statement_timeout_sec=1.5, retry_sec=0.1, retry_max_sec=0.8
    )
    yield made
    made.outbox.close()


def test_a_locked_row_holds_up_its_own_lane_alone(bench: Bench) -> None:
    assert bench.outbox.flush(bench.say("a", 1, "before"), 30)
    with bench.session() as other:
        other.execute("SELECT * FROM gas_station_1.a WHERE id = 0 FOR UPDATE")
        for number in range(3):
            bench.say("a", 0, f"held {number}")
        until(lambda: bench.outbox.status()["degraded"])
        (words,) = bench.outbox.status()["degraded"]
        assert "a is held up" in words
        assert "lock timeout" in words
        took: list[float] = []
        for number in range(60):
            start = time.monotonic()
            table, row = ("b", number % 10) if number % 2 else ("a", 1 + number % 9)
            assert bench.outbox.flush(bench.say(table, row, str(number)), 30)
            took.append(time.monotonic() - start)
        print(f"records beside a locked row: median {sorted(took)[30] * 1000:.0f} ms")
        # Less than one wait for the lock, which is over after 200 ms at the earliest.
        assert sorted(took)[30] < 0.2
        assert bench.said("a").get(0) is None
        assert bench.outbox.status()["servers"][0]["error"] is None
        assert bench.outbox.status()["failed"] == 0
    until(lambda: not bench.outbox.status()["depth"])
    assert bench.said("a")[0] == "held 2"
    until(lambda: not bench.outbox.status()["degraded"])
    assert [(p.code, p.ended) for p in bench.problems] == [("action_failed", False), ("action_failed", True)]


def test_a_locked_table_holds_up_no_other_and_loses_nothing(bench: Bench) -> None:
    assert bench.outbox.flush(bench.say("b", 1, "before"), 30)
    with bench.session() as other:
        other.execute("LOCK TABLE gas_station_1.a IN ACCESS EXCLUSIVE MODE")
        for number in range(100):
            payload = {
                "table": "a",
                "key_field": "id",
                "key_value": str(100 + number),
                "fields": {"said": "x"},
                "now": [],
            }
            bench.outbox.submit(
                OutboxEvent((Job("postgresql_update_combined", bench.target, payload),), lane=str(number))
            )
        until(lambda: bench.outbox.status()["degraded"])
        took: list[float] = []
        for number in range(40):
            start = time.monotonic()
            assert bench.outbox.flush(bench.say("b", number % 10, str(number)), 30)
            took.append(time.monotonic() - start)
        print(f"other tables beside a locked one: median {sorted(took)[20] * 1000:.0f} ms")
        assert sorted(took)[20] < 0.3
        assert bench.outbox.status()["depth"] == 100
    until(lambda: not bench.outbox.status()["depth"], timeout=60)
    assert len(bench.said("a")) == 100
    assert bench.outbox.status()["failed"] == 0
    until(lambda: not bench.outbox.status()["degraded"])
    assert [p.ended for p in bench.problems] == [False, True]


def test_a_slow_table_holds_up_no_other(bench: Bench) -> None:
    bench.server.query(
        "CREATE FUNCTION gas_station_1.slow() RETURNS trigger AS"
        " 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END' LANGUAGE plpgsql"
    )
    bench.server.query(
        "CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON gas_station_1.a"
        " FOR EACH ROW EXECUTE FUNCTION gas_station_1.slow()"
    )
    for number in range(5):
        bench.say("a", number, "slow")
    until(lambda: bench.outbox.status()["degraded"])
    assert "statement timeout" in bench.outbox.status()["degraded"][0]
    took: list[float] = []
    for number in range(30):
        start = time.monotonic()
        assert bench.outbox.flush(bench.say("b", number % 10, str(number)), 30)
        took.append(time.monotonic() - start)
    print(f"other tables beside a slow one: median {sorted(took)[15] * 1000:.0f} ms")
    assert sorted(took)[15] < 0.3
    bench.server.query("DROP TRIGGER slow ON gas_station_1.a")
    until(lambda: not bench.outbox.status()["depth"], timeout=90)
    assert bench.said("a") == dict.fromkeys(range(5), "slow")
    until(lambda: not bench.outbox.status()["degraded"])


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03", "57014"])
def test_what_passes_is_tried_again_however_often(bench: Bench, code: str) -> None:
    """Serialization failure, deadlock, lock that is not available, cancelled statement: seven times each."""
    bench.server.query("CREATE SEQUENCE gas_station_1.tries")
    bench.server.query(
        "CREATE FUNCTION gas_station_1.fail() RETURNS trigger AS $$ BEGIN"
        f" IF nextval('gas_station_1.tries') <= 7 THEN RAISE 'not now' USING ERRCODE = '{code}'; END IF;"
        " RETURN NEW; END $$ LANGUAGE plpgsql"
    )
    bench.server.query(
        "CREATE TRIGGER fail BEFORE UPDATE ON gas_station_1.a"
        " FOR EACH ROW EXECUTE FUNCTION gas_station_1.fail()"
    )
    bench.say("a", 3, "first")
    bench.say("a", 3, "last")
    until(lambda: bench.outbox.status()["degraded"])
    assert bench.outbox.status()["servers"][0]["error"] is None
    until(lambda: not bench.outbox.status()["depth"])
    assert bench.outbox.status()["failed"] == 0
    assert bench.said("a") == {3: "last"}
    until(lambda: [p.ended for p in bench.problems] == [False, True])


def test_what_was_held_up_waits_over_a_restart(bench: Bench, tmp_path: Path) -> None:
    with bench.session() as other:
        other.execute("SELECT * FROM gas_station_1.a WHERE id = 0 FOR UPDATE")
        bench.say("a", 0, "held")
        until(lambda: bench.outbox.status()["degraded"])
        bench.outbox.close()
        again = Outbox(OutboxSettings(), tmp_path / "outbox.db")
        until(lambda: again.status()["degraded"])
    until(lambda: not again.status()["depth"])
    again.close()
    assert bench.said("a") == {0: "held"}
