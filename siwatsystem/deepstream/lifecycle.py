"""The life of an app: launched, connected, away, stopped, dead, launched again or given up."""

from signal import Signals

from siwatsystem.deepstream import trials
from siwatsystem.deepstream.apps import App, Process, Slot, Spec
from siwatsystem.deepstream.effects import Close, LaunchApp, Send, Signal
from siwatsystem.deepstream.endings import Endings
from siwatsystem.deepstream.events import Exited, Launched, LaunchFailed
from siwatsystem.deepstream.ledger import Ledger
from siwatsystem.deepstream.placing import Placing
from siwatsystem.deepstream.states import AppState
from siwatsystem.deepstream.to_app import TerminateApp

GOING_AWAY = 1001
POLICY_VIOLATION = 1008


class Lifecycle:
    def __init__(self, ledger: Ledger, placing: Placing, endings: Endings) -> None:
        self._ledger = ledger
        self._placing = placing
        self._endings = endings

    # --- launching ----------------------------------------------------------------------------

    def launch(self, instance_id: str, spec: Spec, asked_by: tuple[str, str]) -> None:
        """Begin an app that does not live; room was asked for."""
        app = self._ledger.apps.get(instance_id) or App(instance_id, spec)
        self._ledger.apps[instance_id] = app
        app.spec = spec
        app.process = Process(f"proc_{instance_id}", self._ledger.now)
        app.restarts = []
        app.log_tail = ()
        app.streams_count = spec.streams_count
        app.metrics = None
        if spec.streams_count is not None:
            self.resize(app, spec.streams_count)
        app.asked_by = asked_by
        for slot in app.slots:
            slot.done = slot.failed = 0
        self._start(app)

    def _start(self, app: App) -> None:
        assert app.process is not None
        app.state, app.reason, app.again = AppState.STARTING, None, False
        app.run += 1
        app.process.alive = True
        app.process.exit_code = None
        app.process.host_pid = app.process.container_pid = None
        self._due(app, self._ledger.limits.ready_sec)
        self._ledger.do(LaunchApp(app.instance_id, app.run, app.spec))
        self._ledger.note_app(app)

    def launched(self, event: Launched) -> None:
        app = self._of_run(event.instance_id, event.run)
        if app is None or app.process is None or not app.process.alive:
            self._ledger.do(Signal(event.instance_id, event.run, "KILL"))  # nobody waits for it any more
            return
        process = app.process
        process.host_pid, process.container_pid = event.host_pid, event.container_pid
        process.log_path, process.command = event.log_path, event.command
        self._ledger.note_app(app)
        self.answer_launch(app)
        if app.state is AppState.STOPPING and app.stop_step:  # it was signalled before it was there
            self._ledger.do(Signal(app.instance_id, app.run, "TERM" if app.stop_step == 1 else "KILL"))

    def launch_failed(self, event: LaunchFailed) -> None:
        app = self._of_run(event.instance_id, event.run)
        if app is None or app.process is None or not app.process.alive:
            return
        first = app.asked_by is not None
        self._refuse_launch(app, event.status, event.reason)
        reason = f"could not be launched: {event.reason}"
        if app.state is AppState.STOPPING and not app.again:
            self._gone(app, AppState.EXITED, app.reason)
        elif first and app.state is AppState.STARTING:
            self._gone(app, AppState.CRASHED, reason)
        else:
            self._died(app, reason)

    def answer_launch(self, app: App) -> None:
        """Whoever asked for it hears that it is there."""
        if app.asked_by is None or app.process is None:
            return
        process = app.process
        body = {
            "success": True,
            "message": "launched",
            "process_id": process.id,
            "instance_id": app.instance_id,
            "host_pid": process.host_pid,
            "log_path": process.log_path,
        }
        self._ledger.answer(*app.asked_by, body)
        app.asked_by = None

    def _refuse_launch(self, app: App, status: int, reason: str) -> None:
        if app.asked_by is not None:
            self._ledger.refuse(app.asked_by[0], status, reason)
            app.asked_by = None

    def resize(self, app: App, count: int) -> None:
        """Give it `count` slots; what waited for one that is gone waits for the last."""
        app.streams_count = count
        while len(app.slots) < count:
            app.slots.append(Slot(len(app.slots)))
        for slot in app.slots[count:]:
            if slot.current is not None:
                self._endings.take_back(app, slot, "its slot is gone", fault=False)
            for request in list(slot.line):
                last = app.slots[count - 1]
                slot.line.remove(request)
                request.stream_id = last.stream_id
                last.line.add(request)
                last.load += request.weight
                self._ledger.note_request(request)
            self._ledger.forget_slot(app, slot)
        del app.slots[count:]
        for slot in app.slots:
            self._ledger.note_slot(app, slot)

    # --- connections --------------------------------------------------------------------------

    def lost(self, app: App) -> None:
        """Its connection is gone; it is expected back."""
        self._detach(app)
        self._ledger.note_app(app)
        if app.state is AppState.RUNNING:
            self._due(app, self._ledger.limits.reconnect_sec)
        elif app.state is AppState.STOPPING and app.process is None:
            self._due(app, 0.0)

    def _detach(self, app: App, close: tuple[int, str] | None = None) -> None:
        if app.connection is None:
            return
        del self._ledger.connections[app.connection]
        if close is not None:
            self._ledger.do(Close(app.connection, *close))
        app.connection = None
        app.syncing = False
        for slot in app.slots:
            self._ledger.deadlines.clear((app.instance_id, slot.stream_id))
            self._ledger.note_slot(app, slot)

    # --- ending -------------------------------------------------------------------------------

    def stop(self, app: App, reason: str) -> None:
        """Ask it to end, and see to it that it does."""
        if app.state in (AppState.EXITED, AppState.CRASHED):
            return
        if app.state is AppState.BACKOFF:
            self._gone(app, AppState.EXITED, reason)
            return
        app.again = False
        if app.state is AppState.STOPPING:
            self._ledger.note_app(app)
            return
        app.state, app.reason, app.stop_step = AppState.STOPPING, reason, 0
        self._ledger.note_app(app)
        if app.connection is None:
            self._next_step(app)
            return
        self._ledger.do(Send(app.connection, TerminateApp(request_id=f"stop:{app.instance_id}#{app.run}")))
        self._due(app, self._ledger.limits.stop_sec)

    def ends_itself(self, app: App, reason: str) -> None:
        """It said that it ends now."""
        if app.process is None:
            self._gone(app, AppState.EXITED, reason)
        elif app.state is not AppState.STOPPING:
            app.state, app.reason, app.stop_step, app.again = AppState.STOPPING, reason, 0, False
            self._due(app, self._ledger.limits.stop_sec)
            self._ledger.note_app(app)

    def distrust(self, app: App, reason: str, culprits: frozenset[str] | None = None) -> None:
        """It does not do what it must: it is ended by force and launched again within its budget. `culprits`:
        the requests that it hangs at, which are taken back at once; None: any may be to blame."""
        if app.state not in (AppState.STARTING, AppState.RUNNING):
            return
        if culprits is not None:
            self._take_back(app, f"its app died: {reason}", fault=True, only=culprits)
            app.blamed = True
        self._detach(app, (POLICY_VIOLATION, reason[:120]))
        if app.process is None:
            self._take_all_back(app, reason, fault=True)
            self._gone(app, AppState.EXITED, reason)
            return
        app.state, app.reason, app.again, app.stop_step = AppState.STOPPING, reason, True, 0
        self._ledger.note_app(app)
        self._next_step(app)

    def exited(self, event: Exited) -> None:
        """Its process has ended."""
        app = self._of_run(event.instance_id, event.run)
        if app is None or app.process is None or not app.process.alive:
            return
        app.process.exit_code = event.code
        app.log_tail = event.log_tail[-self._ledger.limits.log_lines :]
        told = _end_of(event.code)
        if app.state is AppState.STARTING and app.reason:
            told = f"{told}; {app.reason}"
        if app.state is AppState.STOPPING and not app.again:
            self._gone(app, AppState.EXITED, app.reason)
        elif app.state is AppState.STOPPING:
            self._died(app, app.reason or told)
        elif event.code == 0 and app.state is AppState.RUNNING and not app.wanted:
            self._gone(app, AppState.EXITED, "it ended by itself")
        else:
            self._died(app, told)

    def due(self, app: App) -> None:
        """Its deadline has passed."""
        match app.state:
            case AppState.STARTING:
                self.distrust(app, app.reason or "it never said app_ready")
            case AppState.RUNNING if app.syncing:
                self.distrust(app, "it did not tell what it does")
            case AppState.RUNNING if app.connection is None:
                self.distrust(app, "it lost its connection and did not come back")
            case AppState.STOPPING:
                self._next_step(app)
            case AppState.BACKOFF:
                self._start(app)
            case _:
                pass

    def _next_step(self, app: App) -> None:
        limits = self._ledger.limits
        app.stop_step += 1
        if app.process is None or not app.process.alive:
            self._gone(app, AppState.EXITED, app.reason)
        elif app.stop_step == 1:
            self._ledger.do(Signal(app.instance_id, app.run, "TERM"))
            self._due(app, limits.term_sec)
        elif app.stop_step == 2:
            self._ledger.do(Signal(app.instance_id, app.run, "KILL"))
            self._due(app, limits.kill_sec)
        else:
            reason = f"{app.reason}; its end was not seen after SIGKILL"
            if app.again:
                self._died(app, reason)
            else:
                self._gone(app, AppState.EXITED, reason)

    def _died(self, app: App, reason: str) -> None:
        """Launch it again within the budget, or give it up where everybody sees it."""
        limits, now = self._ledger.limits, self._ledger.now
        assert app.process is not None
        self._refuse_launch(app, 503, reason)
        app.restarts = [at for at in app.restarts if now - at < limits.restart_window_sec]
        if self._ledger.closing or len(app.restarts) >= limits.restarts:
            often = (
                f" ({len(app.restarts)} restarts in {limits.restart_window_sec:g} s)" if app.restarts else ""
            )
            self._take_all_back(app, f"its app died: {reason}", fault=True)
            self._gone(app, AppState.CRASHED, reason + often)
            return
        delay = min(limits.backoff_max_sec, limits.backoff_sec * 2 ** len(app.restarts))
        app.restarts.append(now)
        app.process.alive = False
        self._detach(app, (GOING_AWAY, "its process has ended"))
        self._take_all_back(app, f"its app died: {reason}", fault=True)
        app.state, app.reason, app.again = AppState.BACKOFF, reason, False
        self._due(app, delay)
        self._ledger.note_app(app)

    def _gone(self, app: App, state: AppState, reason: str | None) -> None:
        """It ends for good: what it had waits for others."""
        self._refuse_launch(app, 503, reason or "it has ended")
        app.state, app.reason, app.again = state, reason, False
        if app.process is not None:
            app.process.alive = False
        self._detach(app, (GOING_AWAY, "it has ended"))
        self._take_all_back(app, "its app has ended", fault=False)
        self._ledger.deadlines.clear((app.instance_id,))
        self._endings.orphan(app)
        self._ledger.note_app(app)
        self._placing.wake()

    def _take_all_back(self, app: App, reason: str, *, fault: bool) -> None:
        self._take_back(app, reason, fault=fault and not app.blamed)
        app.blamed = False

    def _take_back(self, app: App, reason: str, *, fault: bool, only: frozenset[str] | None = None) -> None:
        charged = trials.charged(app, only) if fault else []
        for slot in app.slots:
            request = slot.current
            if request is None or (only is not None and request.id not in only):
                continue
            if request not in charged:
                self._endings.take_back(app, slot, reason, fault=False)
                continue
            suspect = request.suspect
            trials.begin(request, shared=len(charged) > 1)
            blamed = () if suspect is None else (suspect,)
            self._endings.take_back(app, slot, reason, blamed=blamed)

    def began_anew(self, app: App) -> None:
        """Another process of it has connected: what the one before had in hand is taken back."""
        app.tells_frames = False
        self._take_all_back(app, "its app began anew", fault=True)

    def _of_run(self, instance_id: str, run: int) -> App | None:
        app = self._ledger.apps.get(instance_id)
        return app if app is not None and app.run == run else None

    def _due(self, app: App, after: float) -> None:
        self._ledger.deadlines.set((app.instance_id,), self._ledger.now + after)


def _end_of(code: int | None) -> str:
    """An exit code in words; below zero it is the signal that ended the process."""
    if code is None:
        return "is not there any more"
    if code >= 0:
        return f"ended with code {code}"
    known = -code in {one.value for one in Signals}
    return f"killed by {Signals(-code).name}" if known else f"killed by signal {-code}"
