"""One run of a container: begun, kept until the last byte of its output, and ended. What follows it is `life.py`'s to know."""

from __future__ import annotations

import os
import time

from cratebox.cgroup import detect
from cratebox.engine import exits
from cratebox.engine.logs import LogWriter
from cratebox.engine.pump import Pump, Stream
from cratebox.errors import CrateError, StorageError
from cratebox.linux import process
from cratebox.runtime import create as runtime
from cratebox.runtime import state as runtime_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.base import Cgroup, Driver
    from cratebox.engine.dialogue import Watch
    from cratebox.engine.loop import Loop
    from cratebox.runtime.spec import Spec
    from cratebox.runtime.wish import Wish

_SIGKILL = 9
_SECONDS_AFTER_EXIT = 2.0  # for output on its way through a terminal, which a descriptor elsewhere could keep open for ever


class Run:
    """The container's first process, held by `pid` and `pidfd` (-1 once it has been reaped), its output and its cgroup.

    `console` is the master of its terminal and `stdin` the write end of its standard input, or -1.
    """

    def __init__(self, watch: Watch, loop: Loop) -> None:
        self.watch, self.loop = watch, loop
        self.pid, self.pidfd, self.console = 0, -1, -1
        self.stdin = watch.stdin
        self.status: int | None = None  # as of wait(2)
        self.cgroup: Cgroup | None = None
        self.started_at = time.time()
        self.pump: Pump

    @property
    def _own_pids(self) -> bool:
        """Whether its PID namespace ends with its first process, and all others in it."""
        linux = self.watch.wish.spec.linux
        return linux is None or any(one.type == "pid" and not one.path for one in linux.namespaces)

    # Beginning

    def begin(self) -> None:
        """Create and start the container. Raises what kept it from running; nothing of it is left then."""
        try:
            created = self._create()
        except BaseException:
            self._remove_cgroup()
            self._forget_state()
            raise
        created.sock.close()
        self.pid, self.pidfd = created.pid, created.pidfd
        self.loop.watch(self.pidfd, self._reap)

    def _create(self) -> runtime.Created:
        wish, sources = self._with_output(self._with_cgroup(self.watch.wish))
        who = wish.spec.process
        assert who
        created = runtime.begin(wish)
        self.cgroup = created.cgroup
        try:
            for fd in (*wish.stdio, *wish.held):
                if fd >= 0:
                    os.close(fd)
            self._save_state(created)  # while it mounts
            log = self._log()
            runtime.await_ready(created)
            if who.terminal:
                self.console = created.console
                sources = (("stdout", created.console),)
            streams = [Stream(name, source) for name, source in sources]
            self.pump = Pump(self.loop, streams, log, nobody_else=self.watch.remove and not who.terminal)
            runtime.start(created, who.args[0])
        except BaseException:
            runtime.end(created)
            raise
        return created

    def _with_cgroup(self, wish: Wish) -> Wish:
        """Being born in a cgroup of v2 saves a lock over all processes; in v1 joining is cheap, making is not."""
        driver = detect.driver("", self.watch.container.owner.rootless)
        if driver.born_inside:
            self.cgroup = _make_cgroup(driver, wish.spec)
            return wish.replace(cgroup=self.cgroup)
        return wish.replace(make_cgroup=lambda _pid: _make_cgroup(driver, wish.spec))

    def _with_output(self, wish: Wish) -> tuple[Wish, tuple[tuple[str, int], ...]]:
        """Return the wish with pipes for its output, and their other ends: (stream, descriptor). A terminal needs none."""
        if wish.spec.process and wish.spec.process.terminal:
            return wish, ()
        (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
        return wish.replace(stdio=(wish.stdio[0], out_write, err_write)), (("stdout", out_read), ("stderr", err_read))

    def _log(self) -> LogWriter | None:
        try:
            return LogWriter(self.watch.directory + "/log", self.watch.log) if self.watch.log else None
        except OSError as error:
            raise StorageError(f"cannot write the container's log: {error.strerror}") from None

    def _save_state(self, created: runtime.Created) -> None:
        saved = runtime_state.State(
            oci_version=self.watch.wish.spec.oci_version,
            id=self.watch.container.id,
            bundle=self.watch.directory,
            pid=created.pid,
            started=created.started,
            boot_id=process.boot_id(),
            created=self.started_at,
            cgroup=created.cgroup.paths() if created.cgroup else {},
            started_at=self.started_at,
            own_pids=self._own_pids,
        )
        try:
            runtime_state.save(self.watch.state_directory, saved)
        except OSError as error:
            raise StorageError(f"cannot write {self.watch.state_directory}: {error.strerror}") from None

    # Staying

    def stay(self) -> exits.Exit:
        """Stay until the container has ended and all that it said is passed on; return how it ended."""
        failed = ""
        try:
            while self.status is None or self.pump.open:
                self.loop.turn()
        except Exception as error:  # noqa: BLE001  nobody would be there for its output, its exit code and its end
            self._kill()
            failed = f"its supervisor failed: {type(error).__name__}: {error}"
        self.pump.close()
        code = process.waited_status(self.status or 0)
        return exits.Exit(code, self.started_at, time.time(), failed or self.pump.log_error)

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process; nothing where that has ended. Raises OSError, ValueError."""
        if self.pidfd >= 0:
            process.send_signal(self.pidfd, number)

    def end_stdin(self) -> None:
        """Close the container's standard input, for which nobody has more."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def _reap(self) -> None:
        self.status = os.waitpid(self.pid, 0)[1]
        self._let_go()
        self.pump.writers_are_gone()
        if self.pump.waiting:
            self.loop.after(_SECONDS_AFTER_EXIT, self.pump.wait_no_more)

    def _kill(self) -> None:
        """End the container, whose PID namespace ends with its first process."""
        if self.status is None:
            process.send_signal(self.pidfd, _SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
            self._let_go()

    def _let_go(self) -> None:
        self.loop.unwatch(self.pidfd)
        os.close(self.pidfd)
        self.pidfd = -1

    # Ending

    def clean(self) -> None:
        """Take away what the run had on the machine: its cgroup and the state of its process."""
        self.end_stdin()
        self._remove_cgroup()
        self._forget_state()

    def forget(self) -> None:
        """Let everybody see that it does not run any more; its cgroup is left for `clean`."""
        self._forget_state()

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
                if not self._own_pids:
                    self.cgroup.kill()
                self.cgroup.remove()
        except (CrateError, OSError):
            pass


def _make_cgroup(driver: Driver, spec: Spec) -> Cgroup:
    assert spec.linux
    return driver.create(spec.linux.cgroups_path, spec.linux.resources)
