"""The first message of a connection: whether the app is the one that was launched or registered."""

from posixpath import normpath

from siwatsystem.deepstream.apps import App
from siwatsystem.deepstream.effects import Close, Send
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.lifecycle import POLICY_VIOLATION, Lifecycle
from siwatsystem.deepstream.placing import Placing
from siwatsystem.deepstream.states import AppState
from siwatsystem.deepstream.synchronising import Synchronising
from siwatsystem.deepstream.to_app import ExecuteAck, HandshakeError, ReconnectionAck, TerminateApp
from siwatsystem.deepstream.to_server import AppReady
from siwatsystem.deepstream.wire_states import iso


class Handshake:
    def __init__(self, ledger: Ledger, placing: Placing, lifecycle: Lifecycle, sync: Synchronising) -> None:
        self._ledger = ledger
        self._placing = placing
        self._lifecycle = lifecycle
        self._sync = sync

    def ready(self, connection: int, message: AppReady) -> None:
        """An app says that it is there: known again, or refused and closed."""
        app = self._ledger.apps.get(message.instance_id)
        known = self._ledger.connections.get(connection)
        problem = _problem(app, message)
        if app is None or problem is not None or known not in (None, app):
            code, text = problem or ("UNKNOWN_INSTANCE", "this connection is another instance's")
            self._refuse(connection, app, message, code, text)
            if known is not None:
                self._lifecycle.lost(known)
            return
        repeated = known is app
        restored = message.reconnection and app.state is AppState.RUNNING
        self._accept(connection, message, restored=restored)
        if repeated:
            return
        if app.connection is not None:
            self._ledger.do(Close(app.connection, POLICY_VIOLATION, "the app has connected anew"))
            self._lifecycle.lost(app)
        app.connection = connection
        self._ledger.connections[connection] = app
        if app.state is AppState.STOPPING:
            self._ledger.do(Send(connection, TerminateApp(request_id=f"stop:{app.instance_id}#{app.run}")))
            self._ledger.note_app(app)
            return
        self._go_on(app, message)

    def _go_on(self, app: App, message: AppReady) -> None:
        if not message.reconnection:
            self._lifecycle.began_anew(app)
        if app.process is not None:
            app.process.alive = True
        app.state, app.reason, app.log_tail = AppState.RUNNING, None, ()
        if app.streams_count != message.streams_count:
            self._lifecycle.resize(app, message.streams_count)
        self._ledger.deadlines.clear((app.instance_id,))
        self._lifecycle.answer_launch(app)
        self._ledger.note_app(app)
        for slot in app.slots:
            self._ledger.note_slot(app, slot)
        if message.reconnection:
            self._sync.ask(app)
        else:
            self._placing.feed_all(app)

    def _accept(self, connection: int, message: AppReady, *, restored: bool) -> None:
        ack = ExecuteAck(
            request_id=message.request_id,
            instance_id=message.instance_id,
            status="ok",
            config_verified=True,
            streams_count_verified=True,
            timestamp=iso(self._ledger.now) or "",
        )
        self._ledger.do(Send(connection, ack))
        if message.reconnection:
            status = "stopping" if self._ledger.closing else "running"
            again = ReconnectionAck(
                **ack.model_dump(exclude={"type"}, exclude_unset=True),
                session_restored=restored,
                server_status=status,
            )
            self._ledger.do(Send(connection, again))

    def _refuse(
        self, connection: int, app: App | None, message: AppReady, code: HandshakeError, text: str
    ) -> None:
        ack = ExecuteAck(
            request_id=message.request_id,
            instance_id=message.instance_id,
            status="error",
            config_verified=app is not None and code != "CONFIG_MISMATCH",
            streams_count_verified=app is not None and _counts_agree(app, message),
            expected_config=None if app is None else app.spec.config_path,
            received_config=message.config_path,
            error_code=code,
            error_message=text,
            timestamp=iso(self._ledger.now) or "",
        )
        self._ledger.do(Send(connection, ack))
        self._ledger.do(Close(connection, POLICY_VIOLATION, text[:120]))
        if app is not None and app.state is AppState.STARTING:
            app.reason = f"its app_ready was refused: {text}"
            self._ledger.note_app(app)


def _problem(app: App | None, message: AppReady) -> tuple[HandshakeError, str] | None:
    if app is None:
        return "UNKNOWN_INSTANCE", "no instance of that id was launched or registered"
    if normpath(app.spec.config_path) != normpath(message.config_path):
        return "CONFIG_MISMATCH", "the app runs another config than it was launched with"
    if not _counts_agree(app, message):
        text = f"{app.spec.streams_count} streams were expected, the app has {message.streams_count}"
        return "STREAMS_COUNT_MISMATCH", text
    return None


def _counts_agree(app: App, message: AppReady) -> bool:
    return app.spec.streams_count in (None, message.streams_count)
