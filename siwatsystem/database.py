"""Records in PostgreSQL: the table of its own that it makes and migrates, and upserts into any table."""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from psycopg2 import sql

from siwatsystem.errors import ActionFailed, SiwatError, TargetContended, TargetUnavailable
from siwatsystem.identifiers import is_identifier, is_table_name
from siwatsystem.postgresql import Link

log = logging.getLogger(__name__)
T = TypeVar("T")

NOW = "NOW()"
"""A field's value that stands for the database's time."""
DEFAULT_SCHEMA = "gas_station_1"
CAR_TABLE = "car_frontal_info"
CAR_COLUMNS = {
    "display_id": "VARCHAR(255)",
    "captured_timestamp": "VARCHAR(255)",
    "session_id": "VARCHAR(255)",
    "license_character": "VARCHAR(255)",
    "license_type": "VARCHAR(255) DEFAULT 'No model available'",
    "car_brand": "VARCHAR(255)",
    "car_model": "VARCHAR(255)",
    "car_body_type": "VARCHAR(255)",
    "created_at": "TIMESTAMP DEFAULT NOW()",
    "updated_at": "TIMESTAMP DEFAULT NOW()",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was created: the names as they stand in the catalogue, and its single-column keys."""

    schema: str
    name: str
    columns: frozenset[str]
    keys: frozenset[str]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def column(self, name: str) -> str:
        """The column meant by `name`: spelt exactly so, else folded to lower case. Raises ActionFailed."""
        for spelling in (name, name.lower()):
            if spelling in self.columns:
                return spelling
        raise ActionFailed(f"{self.schema}.{self.name} has no column {name}")


class DatabaseManager:
    """Records of one database; thread-safe, connects at first use and again after an outage.

    `config`: host, port, database, username, password, schema (default `gas_station_1`), and `hostaddr`
    where the host's address is known already. The public methods return whether it worked and never
    raise; `upsert`, `initial_record` and `prepare` are what they stand on and raise TargetUnavailable (the
    server is away), TargetContended (something else holds what the record needs) or ActionFailed (it
    refuses).
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        connect_timeout: float = 5.0,
        statement_timeout: float = 5.0,
        lock_timeout: float | None = None,
    ) -> None:
        """`lock_timeout`: longest wait for a lock, where that is less than `statement_timeout`."""
        self._config = dict(config)
        self._schema = str(self._config.get("schema") or DEFAULT_SCHEMA)
        self._connect_timeout = connect_timeout
        self._statement_timeout = statement_timeout
        self._lock_timeout = lock_timeout
        self._link: Link | None = None
        self._tables: dict[str, Table] = {}
        self._lock = threading.RLock()

    def connect(self) -> bool:
        """Connect now, if not connected."""
        return self._attempt("connect", lambda: self._with_link(lambda link: bool(link.execute("SELECT 1"))))

    def disconnect(self) -> bool:
        """Close the connection; the next call opens another."""
        with self._lock:
            self._drop()
        return True

    def cut(self) -> None:
        """From any thread, never blocking: make a call that hangs come back with TargetUnavailable."""
        link = self._link
        if link is not None:
            link.cut()

    def is_connected(self) -> bool:
        """Whether the server answers on the connection that is open."""
        with self._lock:
            if self._link is None or not self._link.usable:
                return False
            try:
                return bool(self._link.execute("SELECT 1"))
            except SiwatError:
                self._drop()
                return False

    def update_car_info(
        self, session_id: str, brand: str | None, model: str | None, body_type: str | None
    ) -> bool:
        """Write what is known of a session's car; None leaves what is there."""
        known = {"car_brand": brand, "car_model": model, "car_body_type": body_type}
        fields = {name: value for name, value in known.items() if value is not None}
        return self.execute_update(CAR_TABLE, "session_id", session_id, fields | {"updated_at": NOW})

    def execute_update(
        self, table: str, key_field: str, key_value: object, fields: Mapping[str, object]
    ) -> bool:
        """Upsert into `table` (`schema.table` is already qualified); `"NOW()"` is the database's time."""
        now = [name for name, value in fields.items() if value == NOW]
        values = {name: value for name, value in fields.items() if name not in now}
        return self._attempt("update", lambda: self.upsert(table, key_field, key_value, values, now))

    def create_car_frontal_info_table(self) -> bool:
        """Make `car_frontal_info`, or add the columns it lacks; nothing is lost."""
        return self._attempt("create table", self.prepare)

    def insert_initial_detection(
        self, display_id: str, captured_timestamp: str, session_id: str | None = None
    ) -> str | None:
        """Insert a session's first record and return its id; the first capture of a session is kept."""
        chosen = str(uuid.uuid4()) if session_id is None else str(session_id)
        done = self._attempt("insert", lambda: self.initial_record(display_id, captured_timestamp, chosen))
        return chosen if done else None

    def upsert(
        self,
        table: str,
        key_field: str,
        key_value: object,
        fields: Mapping[str, object],
        now: Sequence[str] = (),
    ) -> None:
        """Write `fields`, and the database's time into the columns `now`, into the row of that key.

        Without a unique key on `key_field` the table is locked while the row is looked for. Raises
        TargetUnavailable, TargetContended, ActionFailed.
        """

        for name in (key_field, *fields, *now):
            if not is_identifier(name):
                raise ActionFailed(f"{name!r} is no name of a column")

        def work(link: Link) -> None:
            place = self._table(link, table)
            values = {place.column(name): value for name, value in fields.items()}
            stamps = [place.column(name) for name in now]
            key = place.column(key_field)
            if key in place.keys:
                link.transact(_insert(place, key, key_value, values, stamps, update=True))
                return
            with link.transaction():
                _replace(link, place, key, key_value, values, stamps)

        self._with_link(work)

    def initial_record(self, display_id: str, captured_timestamp: str, session_id: str) -> None:
        """Insert the session's first record; of one that is there what it lacks is filled in. Raises
        TargetUnavailable, ActionFailed."""

        def work(link: Link) -> None:
            place = self._table(link, CAR_TABLE)
            values = {"display_id": display_id, "captured_timestamp": captured_timestamp}
            values = {place.column(name): value for name, value in values.items()}
            key = place.column("session_id")
            if key in place.keys:
                link.transact(
                    _insert(place, key, session_id, values, keep=True), _fill(place, key, session_id, values)
                )
                return
            with link.transaction():
                link.execute(_lock(place))
                if not link.execute(*_select(place, key, session_id)):
                    link.execute(*_insert(place, key, session_id, values))
                link.execute(*_fill(place, key, session_id, values))

        self._with_link(work)

    def prepare(self) -> None:
        """Make or migrate `car_frontal_info`. Raises TargetUnavailable, ActionFailed."""
        self._with_link(self._prepare)

    def _prepare(self, link: Link) -> None:
        with link.transaction():
            schema = _existing_schema(link, self._schema)
            if schema is None:
                schema = self._schema.lower()
                link.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
            place = _describe(link, schema, CAR_TABLE)
            if place is None:
                link.execute(_create(schema))
            for name, kind in CAR_COLUMNS.items():
                if place is not None and name not in place.columns:
                    statement = "ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}"
                    parts = (place.identifier, sql.Identifier(name), sql.SQL(kind))
                    link.execute(sql.SQL(statement).format(*parts))
        self._tables.clear()

    def _table(self, link: Link, name: str) -> Table:
        if not is_table_name(name):
            raise ActionFailed(f"{name!r} is no name of a table")
        if name not in self._tables:
            schema, _, table = name.rpartition(".")
            schema = schema or self._schema
            if table.lower() == CAR_TABLE and schema == self._schema:
                self._prepare(link)
            found = _describe(link, schema, table)
            if found is None:
                raise ActionFailed(f"there is no table {schema}.{table} that this user may see")
            self._tables[name] = found
        return self._tables[name]

    def _with_link(self, work: Callable[[Link], T]) -> T:
        """Do `work` on the connection; one that turns out to be stale is replaced once."""
        with self._lock:
            reused = self._link is not None and self._link.usable
            try:
                return work(self._open())
            except TargetContended:
                raise
            except TargetUnavailable:
                if not reused or (self._link is not None and self._link.usable):
                    self._drop()
                    raise
            except ActionFailed:
                # The table may have changed since it was looked at.
                self._tables.clear()
                raise
            # Everything here may be repeated: upserts by key, and what the server makes if it lacks it.
            try:
                return work(self._open())
            except TargetUnavailable:
                self._drop()
                raise

    def _open(self) -> Link:
        if self._link is None or not self._link.usable:
            self._drop()
            limits = (self._connect_timeout, self._statement_timeout, self._lock_timeout)
            self._link = Link(self._config, *limits)
        return self._link

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None
        self._tables.clear()

    def _attempt(self, what: str, work: Callable[[], object]) -> bool:
        try:
            work()
        except SiwatError as error:
            log.error("postgresql: %s failed: %s", what, error)
            return False
        except Exception:  # What the caller passed may be anything; the contract says: never raises.
            log.exception("postgresql: %s failed", what)
            return False
        return True


def _existing_schema(link: Link, name: str) -> str | None:
    rows = link.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname IN (%s, lower(%s))"
        " ORDER BY nspname = %s DESC LIMIT 1",
        (name, name, name),
    )
    return rows[0][0] if rows else None


def _describe(link: Link, schema: str, table: str) -> Table | None:
    """The table meant by these names (exact spelling first, then folded), or None."""
    rows = link.execute(
        "SELECT c.oid, n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN (%s, lower(%s)) AND c.relname IN (%s, lower(%s))"
        " AND c.relkind IN ('r', 'p', 'v', 'f')"
        " ORDER BY (n.nspname = %s)::int + (c.relname = %s)::int DESC LIMIT 1",
        (schema, schema, table, table, schema, table),
    )
    if not rows:
        return None
    oid, found_schema, found_table = rows[0]
    columns = link.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped", (oid,)
    )
    keys = link.execute(
        "SELECT a.attname FROM pg_index i"
        " JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        " WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL"
        " AND i.indnkeyatts = 1",
        (oid,),
    )
    return Table(found_schema, found_table, frozenset(r[0] for r in columns), frozenset(r[0] for r in keys))


def _create(schema: str) -> sql.Composable:
    columns = (
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in CAR_COLUMNS.items()
    )
    return sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (session_id))").format(
        sql.Identifier(schema, CAR_TABLE), sql.SQL(", ").join(columns)
    )


def _settings(values: Mapping[str, object], stamps: Sequence[str]) -> tuple[list[str], list[sql.Composable]]:
    names = [*values, *stamps]
    return names, [*(sql.Placeholder() for _ in values), *(sql.SQL("NOW()") for _ in stamps)]


def _insert(
    place: Table,
    key: str,
    key_value: object,
    values: Mapping[str, object],
    stamps: Sequence[str] = (),
    *,
    update: bool = False,
    keep: bool = False,
) -> tuple[sql.Composable, list[object]]:
    """An insert, and what to do if the row is there: `update` it, `keep` it, else that is an error."""
    # The key given last: among the fields it could only say something else.
    names, marks = _settings({**values, key: key_value}, stamps)
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        place.identifier, sql.SQL(", ").join(map(sql.Identifier, names)), sql.SQL(", ").join(marks)
    )
    changed = [name for name in names if name != key] if update else []
    if update or keep:
        statement += sql.SQL(" ON CONFLICT ({}) ").format(sql.Identifier(key))
        pairs = (sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in changed)
        doing = sql.SQL("DO UPDATE SET ") + sql.SQL(", ").join(pairs) if changed else sql.SQL("DO NOTHING")
        statement += doing
    return statement, list({**values, key: key_value}.values())


def _select(place: Table, key: str, key_value: object) -> tuple[sql.Composable, list[object]]:
    statement = sql.SQL("SELECT 1 FROM {} WHERE {} = %s LIMIT 1")
    return statement.format(place.identifier, sql.Identifier(key)), [key_value]


def _fill(
    place: Table, key: str, key_value: object, values: Mapping[str, object]
) -> tuple[sql.Composable, list[object]]:
    """Give a row the values that it has none of: a result may have been recorded before the first capture."""
    pairs = (sql.SQL("{0} = COALESCE({0}, %s)").format(sql.Identifier(name)) for name in values)
    empty = (sql.SQL("{} IS NULL").format(sql.Identifier(name)) for name in values)
    statement = sql.SQL("UPDATE {} SET {} WHERE {} = %s AND ({})").format(
        place.identifier, sql.SQL(", ").join(pairs), sql.Identifier(key), sql.SQL(" OR ").join(empty)
    )
    return statement, [*values.values(), key_value]


def _replace(
    link: Link, place: Table, key: str, key_value: object, values: Mapping[str, object], stamps: list[str]
) -> None:
    """Update the rows of that key, or insert one: for a table that has no unique key on it."""
    link.execute(_lock(place))
    names, marks = _settings(values, stamps)
    pairs = (sql.SQL("{} = {}").format(sql.Identifier(n), mark) for n, mark in zip(names, marks, strict=True))
    found = link.execute(
        sql.SQL("UPDATE {} SET {} WHERE {} = %s RETURNING 1").format(
            place.identifier, sql.SQL(", ").join(pairs), sql.Identifier(key)
        ),
        [*values.values(), key_value],
    )
    if not found:
        link.execute(*_insert(place, key, key_value, values, stamps))


def _lock(place: Table) -> sql.Composable:
    return sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(place.identifier)
