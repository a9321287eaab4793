"""Records against a real PostgreSQL."""

import threading
import time

import pytest

from siwatsystem.database import DatabaseManager
from siwatsystem.errors import ActionFailed, TargetContended, TargetUnavailable
from tests.servers import PostgresServer, postgresql_server, servers, until

__all__ = ["postgresql_server", "servers"]


@pytest.fixture
def database(postgresql_server: PostgresServer):
    manager = DatabaseManager(postgresql_server.config, connect_timeout=2, statement_timeout=2)
    yield manager
    manager.disconnect()


def test_connects_at_first_use_and_says_so(database):
    assert not database.is_connected()
    assert database.connect()
    assert database.is_connected()
    assert database.disconnect()
    assert not database.is_connected()


def test_connects_to_the_address_that_it_is_given_and_resolves_no_name(postgresql_server: PostgresServer):
    config = postgresql_server.config
    manager = DatabaseManager({**config, "host": "no.such.host.invalid", "hostaddr": config["host"]})
    assert manager.connect()
    manager.disconnect()


def test_makes_its_table(database, postgresql_server):
    assert database.create_car_frontal_info_table()
    assert database.create_car_frontal_info_table()
    columns = dict(
        postgresql_server.query(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = 'gas_station_1' AND table_name = 'car_frontal_info'"
        )
    )
    assert columns.pop("created_at") == columns.pop("updated_at") == "timestamp without time zone"
    assert set(columns.values()) == {"character varying"}
    assert set(columns) == {
        "display_id", "captured_timestamp", "session_id", "license_character", "license_type",
        "car_brand", "car_model", "car_body_type",
    }  # fmt: skip


def test_migrates_an_existing_table_and_loses_nothing(database, postgresql_server):
    postgresql_server.query("CREATE SCHEMA gas_station_1")
    postgresql_server.query(
        "CREATE TABLE gas_station_1.car_frontal_info (session_id VARCHAR(255), car_brand TEXT, mine INT)"
    )
    postgresql_server.query(
        "INSERT INTO gas_station_1.car_frontal_info VALUES ('s1', 'Honda', 7), ('s1', 'Kia', 8)"
    )
    assert database.create_car_frontal_info_table()
    rows = postgresql_server.query(
        "SELECT session_id, car_brand, mine, license_type FROM gas_station_1.car_frontal_info ORDER BY mine"
    )
    assert rows == [("s1", "Honda", 7, "No model available"), ("s1", "Kia", 8, "No model available")]
    # No key on session_id, and doubles in it: updates and inserts work all the same.
    assert database.insert_initial_detection("d", "t", "s2") == "s2"
    assert database.insert_initial_detection("d", "t", "s2") == "s2"
    assert database.update_car_info("s2", "BMW", None, "Sedan")
    rows = postgresql_server.query(
        "SELECT car_brand, car_model, car_body_type FROM gas_station_1.car_frontal_info"
        " WHERE session_id = 's2'"
    )
    assert rows == [("BMW", None, "Sedan")]


def test_first_capture_is_kept_and_later_values_win(database, postgresql_server):
    assert database.insert_initial_detection("display-1", "2025-07-14T12-00-00", "s") == "s"
    assert database.insert_initial_detection("display-1", "2025-07-14T13-00-00", "s") == "s"
    assert database.update_car_info("s", "Honda", "City", "Sedan")
    assert database.update_car_info("s", "Toyota", None, None)
    rows = postgresql_server.query(
        "SELECT captured_timestamp, car_brand, car_model, car_body_type, license_type,"
        " updated_at >= created_at FROM gas_station_1.car_frontal_info"
    )
    assert rows == [("2025-07-14T12-00-00", "Toyota", "City", "Sedan", "No model available", True)]


def test_a_missing_session_id_is_made_up(database, postgresql_server):
    made = database.insert_initial_detection("display-1", "t")
    assert made
    assert postgresql_server.query("SELECT session_id FROM gas_station_1.car_frontal_info") == [(made,)]


def test_names_are_found_as_they_were_created(database, postgresql_server):
    postgresql_server.query('CREATE SCHEMA "Mixed"')
    postgresql_server.query(
        'CREATE TABLE "Mixed"."Cars" ("Id" INT PRIMARY KEY, brand TEXT, "Seen" TIMESTAMP)'
    )
    assert database.execute_update("Mixed.Cars", "Id", "5", {"BRAND": "Kia", "Seen": "NOW()"})
    assert database.execute_update("Mixed.Cars", "Id", 5, {"brand": "BMW"})
    rows = postgresql_server.query(
        'SELECT "Id", brand, "Seen" > NOW() - interval \'1 minute\' FROM "Mixed"."Cars"'
    )
    assert rows == [(5, "BMW", True)]
    postgresql_server.query("CREATE SCHEMA gas_station_1")
    postgresql_server.query("CREATE TABLE gas_station_1.Plain (Key TEXT PRIMARY KEY, Value TEXT)")
    assert database.execute_update("Plain", "Key", "k", {"Value": "v"})
    assert postgresql_server.query("SELECT key, value FROM gas_station_1.plain") == [("k", "v")]


def test_a_table_without_a_unique_key_gets_one_row_from_many_at_once(postgresql_server):
    postgresql_server.query("CREATE SCHEMA gas_station_1")
    postgresql_server.query("CREATE TABLE gas_station_1.loose (id SERIAL PRIMARY KEY, who TEXT, what TEXT)")

    def work(number: int) -> None:
        manager = DatabaseManager(postgresql_server.config)
        for _ in range(5):
            manager.upsert("loose", "who", "me", {"what": str(number)})
        manager.disconnect()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert postgresql_server.query("SELECT count(*) FROM gas_station_1.loose") == [(1,)]


@pytest.mark.parametrize(
    "table", ["gone", 'x"; DROP TABLE y; --', "a.b.c", "", "car_frontal_info; SELECT 1", "ta%sble", "x" * 64]
)
def test_a_bad_table_is_refused_and_nothing_is_raised(database, table):
    assert database.create_car_frontal_info_table()
    assert not database.execute_update(table, "session_id", "s", {"car_brand": "x"})
    with pytest.raises(ActionFailed):
        database.upsert(table, "session_id", "s", {"car_brand": "x"})
    assert database.is_connected()


def test_bad_columns_and_values_are_refused(database):
    assert not database.execute_update("car_frontal_info", 'id" = 1; --', "s", {"car_brand": "x"})
    assert not database.execute_update("car_frontal_info", "session_id", "s", {"wheels": "4"})
    assert not database.execute_update("car_frontal_info", "session_id", "s", {"car_brand": "x" * 300})
    assert not database.execute_update("car_frontal_info", "session_id", "s", {"car_brand": object()})
    assert not database.execute_update("car_frontal_info", "session_id", "s", {"car_brand": "nul\0"})
    assert database.execute_update(
        "car_frontal_info", "session_id", "s", {"car_brand": "'; DROP TABLE x; --"}
    )


def test_a_column_added_later_is_found(database, postgresql_server):
    assert not database.execute_update("car_frontal_info", "session_id", "s", {"wheels": "4"})
    postgresql_server.query("ALTER TABLE gas_station_1.car_frontal_info ADD COLUMN wheels INT")
    assert database.execute_update("car_frontal_info", "session_id", "s", {"wheels": "4"})
    assert postgresql_server.query("SELECT wheels FROM gas_station_1.car_frontal_info") == [(4,)]


def test_goes_on_by_itself_after_a_kill(database, postgresql_server):
    assert database.insert_initial_detection("d", "t", "before") == "before"
    postgresql_server.kill()
    assert database.insert_initial_detection("d", "t", "during") is None
    with pytest.raises(TargetUnavailable):
        database.initial_record("d", "t", "during")
    assert not database.is_connected()
    postgresql_server.start()
    assert until(lambda: database.insert_initial_detection("d", "t", "after"))
    rows = postgresql_server.query("SELECT session_id FROM gas_station_1.car_frontal_info ORDER BY 1")
    assert rows == [("after",), ("before",)]


def test_a_restart_between_two_calls_is_not_noticed(database, postgresql_server):
    assert database.insert_initial_detection("d", "t", "one")
    postgresql_server.kill()
    postgresql_server.start()
    assert database.insert_initial_detection("d", "t", "two")


def test_a_hung_server_ends_a_call_in_time(database, postgresql_server):
    assert database.connect()
    postgresql_server.pause()
    start = time.monotonic()
    assert not database.update_car_info("s", "Honda", None, None)
    assert time.monotonic() - start < 15  # 3 s for the statement, 2 s for a new connection
    postgresql_server.resume()
    assert until(lambda: database.update_car_info("s", "Honda", None, None))


def test_a_locked_table_is_contended_not_a_refusal(database, postgresql_server):
    assert database.create_car_frontal_info_table()
    other = DatabaseManager(postgresql_server.config)
    other._with_link(lambda link: link.execute("BEGIN; LOCK TABLE gas_station_1.car_frontal_info"))
    with pytest.raises(TargetContended, match="statement timeout"):
        database.upsert("car_frontal_info", "session_id", "s", {"car_brand": "x"})
    brisk = DatabaseManager(postgresql_server.config, lock_timeout=0.1)
    with pytest.raises(TargetContended, match="lock timeout"):
        brisk.upsert("car_frontal_info", "session_id", "s", {"car_brand": "x"})
    # The connection is as good as before.
    assert brisk.is_connected()
    brisk.disconnect()
    other.disconnect()
    assert until(lambda: database.update_car_info("s", "x", None, None))


def test_a_wrong_password_or_port_is_told_without_secrets(postgresql_server, caplog):
    for change in ({"password": "hunter2"}, {"port": 1}, {"database": "nowhere"}):
        manager = DatabaseManager({**postgresql_server.config, **change})
        assert not manager.connect()
        with pytest.raises(TargetUnavailable):
            manager.upsert("a", "b", "c", {"d": "e"})
    assert "hunter2" not in caplog.text
    assert postgresql_server.config["password"] not in caplog.text
