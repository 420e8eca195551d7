"""One small process per running container: its parent, which starts it, keeps its output, and writes down how it ended.

What it and its client say to each other is drawn in dialogue.py.
"""

from __future__ import annotations

import _signal
import gc
import os
import select
import time

from cratebox.cgroup import detect
from cratebox.engine import events, exits
from cratebox.engine.dialogue import BROKEN, DETACH, ERROR, EXITED, SIGNAL, STARTED, STDIN_ENDED, Watch, pack_error
from cratebox.engine.logs import LogWriter
from cratebox.engine.pump import Pump, Stream
from cratebox.engine.vanishing import vanish
from cratebox.errors import CrateError, OverlayRefused, RuntimeFailure, StorageError
from cratebox.linux import fdpass, process
from cratebox.runtime import create as runtime
from cratebox.runtime import state as runtime_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import NoReturn

    from cratebox.cgroup.base import Cgroup, Driver
    from cratebox.runtime.spec import Spec

_SIGKILL = 9
_SECONDS_AFTER_EXIT = 2.0  # for output on its way through a terminal, which a descriptor elsewhere could keep open for ever


def fork(watch: Watch, sock: _socket.socket, client_sock: _socket.socket) -> int:
    """Fork the supervisor; return its pid. `sock` is its end of the dialogue, the other one the client's."""
    pid = os.fork()
    if pid == 0:
        try:
            client_sock.close()
            _serve(watch, sock)
        finally:
            os._exit(125)
    return pid


def _leave_caller() -> None:
    """Let go of what the caller of a start has: his session, his directory, his handlers of signals.

    Signals that he had blocked or taken over must find the container's processes as execve(2) expects them. Raises OSError.
    """
    os.setsid()
    os.chdir("/")  # it could not be unmounted
    process.set_name("crate-supervisor")
    for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGQUIT):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGHUP, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _serve(watch: Watch, sock: _socket.socket) -> NoReturn:
    """Supervise one run of a container, then end this process."""
    code = 125
    try:
        _close_others((sock.fileno(), watch.lock, watch.stdin, *watch.wish.stdio))
        code = _main(watch, sock)
    except BaseException as error:  # noqa: BLE001  there is nobody above: say it and end
        _say(sock, ERROR + f"{type(error).__name__}\0the supervisor failed: {error!r}\0".encode())
    finally:
        os._exit(code)


def _close_others(ours: tuple[int, ...]) -> None:
    """What the caller had open is not ours to hold: who reads from such a pipe, or waits for such a lock, waits for its end.

    Objects that believe one of these descriptors to be theirs must never be collected: they would close what is open under
    the same number by then.
    """
    gc.freeze()
    process.close_from(3, ours)


def _main(watch: Watch, sock: _socket.socket) -> int:
    gc.enable()  # a long life from here on
    supervision = _Supervision(watch, sock)
    try:
        _leave_caller()
        return supervision.run()
    except (CrateError, OSError, MemoryError) as failed:
        error = failed if isinstance(failed, CrateError) else RuntimeFailure(f"the container's supervisor failed: {failed}")
        watch_failed(watch, error, supervision.before)
        os.close(watch.lock)  # before the client hears of it: it may start or remove the container at once
        _say(sock, pack_error(error))
        return error.exit_code


def watch_failed(watch: Watch, error: CrateError, before: exits.Exit | None) -> None:
    """Write down why the container did not start, or remove it where it was to be removed. One that has run `before` has."""
    if isinstance(error, OverlayRefused):
        return  # it will be tried in another way
    try:
        if watch.remove:
            vanish(watch.container)()
        else:
            started_at = before.started_at if before else 0.0
            exits.write(watch.directory, exits.Exit(error.exit_code, started_at, time.time(), error.message))
    except (OSError, CrateError):
        pass  # the error that is being told counts


def _say(sock: _socket.socket, message: bytes, fds: tuple[int, ...] = ()) -> None:
    try:
        fdpass.send(sock, message, fds)
    except OSError:
        pass  # the client is gone


class _Supervision:
    """The life of one run of a container, from its first process to the last byte of its output."""

    def __init__(self, watch: Watch, sock: _socket.socket) -> None:
        self.watch = watch
        self.sock: _socket.socket | None = sock
        self.stdin_write = watch.stdin
        self.status: int | None = None
        self.cgroup: Cgroup | None = None
        self._deadline = 0.0
        self.before: exits.Exit | None = None  # how it ended the last time

    def run(self) -> int:
        watch = self.watch
        started_at = time.time()
        removing = watch.remove
        try:
            self._start(started_at)
        except BaseException:
            self._remove_cgroup()
            self._forget_state()
            raise
        failed = self._stay()
        code = process.waited_status(self.status or 0)
        self._tell("die", exitCode=str(code), execDuration=str(int(time.time() - started_at)))
        exits.tell(watch.directory, code)
        if not removing:  # before the state is forgotten: it is never unknown how it is
            self._record_exit(exits.Exit(code, started_at, time.time(), failed or self.pump.log_error))
            self._remove_cgroup()
        self._forget_state()
        delete = vanish(watch.container) if removing else None
        if not removing:
            os.close(watch.lock)  # before the client hears of it: it may start or remove the container at once
        if self.sock:
            _say(self.sock, EXITED + str(code).encode())
        if delete:  # nobody has to wait for the rest: it is no container any more, and its ID never comes again
            self._remove_cgroup()
            try:
                delete()
            except (CrateError, OSError):
                pass  # files that cannot be deleted stay, hidden, until the next `rm`
        return 0

    def _stay(self) -> str:
        """Stay until the container has ended; return what ended it where that was a failure of ours."""
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001  nobody would be there for its output, its exit code and its end
            self._kill()
            return f"its supervisor failed: {type(error).__name__}: {error}"
        return ""

    def _tell(self, action: str, **more: str) -> None:
        who = self.watch.container
        events.emit(who.paths, "container", action, who.id, {**who.attributes, **more})

    def _kill(self) -> None:
        """End the container, whose PID namespace ends with its first process."""
        if self.status is None:
            process.send_signal(self.pidfd, _SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]

    def _forget_state(self) -> None:
        """A state that cannot be deleted is that of a process which has ended: it must not hide how."""
        try:
            runtime_state.forget(self.watch.state_directory)
        except StorageError:
            pass

    def _remove_cgroup(self) -> None:
        """What cannot be removed (a process that does not die) must not hide how the container ended: `rm` tries again."""
        try:
            if self.cgroup:
                self.cgroup.remove()
        except (CrateError, OSError):
            pass

    def _record_exit(self, ended: exits.Exit) -> None:
        try:
            exits.write(self.watch.directory, ended)
        except OSError:
            pass  # who is attached hears the code; to others it is lost, as after a crash

    def _start(self, started_at: float) -> None:
        watch, wish = self.watch, self.watch.wish
        if not watch.remove:
            self.before = exits.begin(watch.directory)  # first: whatever fails, it is known that it has run before
        # Being born in a cgroup of v2 saves a lock over all processes; in v1 joining is cheap, making is not.
        driver = detect.driver("", watch.container.owner.rootless)
        if driver.born_inside:
            self.cgroup = _make_cgroup(driver, wish.spec)
            wish = wish.replace(cgroup=self.cgroup)
        else:
            wish = wish.replace(make_cgroup=lambda _pid: _make_cgroup(driver, watch.wish.spec))
        sources: tuple[tuple[str, int, int], ...] = ()
        who = wish.spec.process
        assert who
        if not who.terminal:
            (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
            sources = (("stdout", out_read, 1), ("stderr", err_read, 2))
            wish = wish.replace(stdio=(wish.stdio[0], out_write, err_write))
        created = runtime.begin(wish)
        self.cgroup = created.cgroup
        try:
            for fd in wish.stdio:
                if fd >= 0:
                    os.close(fd)
            self._save_state(created, started_at)  # while it mounts
            log = self._log()
            runtime.await_ready(created)
            if who.terminal:
                sources = (("stdout", created.console, 1),)
            streams = [Stream(name, source, self._sink(number)) for name, source, number in sources]
            self.pump = Pump(streams, log, nobody_else=watch.remove and not who.terminal)
            runtime.start(created, who.args[0])
        except BaseException:
            runtime.end(created)
            raise
        self._tell("start")
        created.sock.close()
        self.pid, self.pidfd = created.pid, created.pidfd
        if self.sock:
            _say(self.sock, STARTED, (created.console,) if who.terminal and watch.attached else ())
            if not watch.attached:
                self.sock.close()
                self.sock = None
        _let_go_of_standard_streams()

    def _sink(self, number: int) -> int:
        """Each stream has a descriptor of its own to write to, so that poll(2) can tell them apart."""
        try:
            return os.dup(number) if self.watch.attached else -1
        except OSError:
            return -1

    def _log(self) -> LogWriter | None:
        try:
            return LogWriter(self.watch.directory + "/log") if self.watch.log else None
        except OSError as error:
            raise StorageError(f"cannot write the container's log: {error.strerror}") from None

    def _save_state(self, created: runtime.Created, started_at: float) -> None:
        saved = runtime_state.State(
            oci_version=self.watch.wish.spec.oci_version,
            id=self.watch.container.id,
            bundle=self.watch.directory,
            pid=created.pid,
            started=created.started,
            boot_id=process.boot_id(),
            created=started_at,
            cgroup=created.cgroup.paths() if created.cgroup else {},
            started_at=started_at,
        )
        try:
            runtime_state.save(self.watch.state_directory, saved)
        except OSError as error:
            raise StorageError(f"cannot write {self.watch.state_directory}: {error.strerror}") from None

    def _loop(self) -> None:
        poll = self.pump.poll
        poll.register(self.pidfd, select.POLLIN)
        if self.sock:
            poll.register(self.sock.fileno(), select.POLLIN)
        while self.status is None or self.pump.open:
            ready = poll.poll(self._patience())
            if self._deadline and self.pump.waiting and time.monotonic() >= self._deadline:
                self.pump.wait_no_more()
            for fd, _events in ready:
                if fd == self.pidfd:
                    self._reap()
                elif self.sock and fd == self.sock.fileno():
                    self._hear()
                else:
                    self.pump.turn(fd)
            if self.pump.broken and self.sock:
                _say(self.sock, BROKEN)
                self._let_client_go()
        self.pump.close()

    def _patience(self) -> float | None:
        """Return for how many milliseconds the terminal of a container that has ended may still say something, None for ever."""
        if not self._deadline or not self.pump.waiting:
            return None
        return max(self._deadline - time.monotonic(), 0.0) * 1000

    def _reap(self) -> None:
        self.pump.poll.unregister(self.pidfd)
        self.status = os.waitpid(self.pid, 0)[1]
        os.close(self.pidfd)
        self.pidfd = -1
        self.pump.writers_are_gone()
        self._deadline = time.monotonic() + _SECONDS_AFTER_EXIT

    def _hear(self) -> None:
        assert self.sock
        try:
            message = fdpass.receive(self.sock)[0]
        except OSError:
            message = b""
        kind, rest = message[:1], message[1:]
        if kind == SIGNAL and self.pidfd >= 0:
            try:
                process.send_signal(self.pidfd, int(rest))
            except (OSError, ValueError):
                pass  # it has just ended
        elif kind == STDIN_ENDED and self.stdin_write >= 0:
            os.close(self.stdin_write)
            self.stdin_write = -1
        elif kind in {DETACH, b""}:
            self._let_client_go()

    def _let_client_go(self) -> None:
        assert self.sock
        self.pump.poll.unregister(self.sock.fileno())
        self.pump.detach()
        self.sock.close()
        self.sock = None


def _make_cgroup(driver: Driver, spec: Spec) -> Cgroup:
    assert spec.linux
    return driver.create(spec.linux.cgroups_path, spec.linux.resources)


def _let_go_of_standard_streams() -> None:
    """What the client was given as standard streams is not ours to hold once it has gone: a pipe's reader waits for its end."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
