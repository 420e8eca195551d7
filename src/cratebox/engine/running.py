"""One run of a container: begun, kept until the last byte of its output, and ended. What follows it is `life.py`'s to know."""

from __future__ import annotations

import os
import time

from cratebox.cgroup import base as cgroups
from cratebox.cgroup import detect
from cratebox.engine import exits, logs, streams
from cratebox.engine.logs import LogWriter
from cratebox.engine.pump import Pump, Stream
from cratebox.errors import CrateError, StorageError
from cratebox.linux import process
from cratebox.paths import private_directory
from cratebox.runtime import create as runtime
from cratebox.runtime import state as runtime_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cratebox.cgroup.base import Cgroup, Driver
    from cratebox.engine.dialogue import Watch
    from cratebox.engine.holding import Holds
    from cratebox.engine.loop import Loop
    from cratebox.engine.volume_filling import Filling
    from cratebox.runtime.spec import Spec
    from cratebox.runtime.wish import Wish

_SIGKILL = 9
_SECONDS_TO_TELL, _PAUSE = 1.0, 0.02
_SECONDS_AFTER_EXIT = 2.0  # for output on its way through a terminal, which a descriptor elsewhere could keep open for ever


class Run:
    """The container's first process, held by `pid` and `pidfd` (-1 once it has been reaped), its output and its cgroup.

    `console` is the master of its terminal, or -1; the pump's to close.
    """

    def __init__(self, watch: Watch, loop: Loop, unheard: Callable[[Stream], None]) -> None:
        self.watch, self.loop = watch, loop
        self._unheard = unheard
        self.pid, self.pidfd, self.console = 0, -1, -1
        self.strange = False  # it is a child neither of this process nor of its guardian
        self._started = 0  # see runtime/state.py
        self._state: runtime_state.State | None = None
        self.state_fd = -1  # of its file: what is in it outlives its name
        self.code: int | None = None  # its exit code, as a shell counts
        self.cgroup: Cgroup | None = None
        self._alone = self._own_pids  # the others end with its first process
        self.started_at = time.time()
        self.pump: Pump

    @property
    def _own_pids(self) -> bool:
        """Whether its PID namespace ends with its first process, and all others in it."""
        linux = self.watch.wish.spec.linux
        return linux is None or any(one.type == "pid" and not one.path for one in linux.namespaces)

    @property
    def age(self) -> float:
        """How many seconds ago it began, whatever was done to the clock."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self._started / os.sysconf("SC_CLK_TCK"))

    # Beginning

    def begin(self, meanwhile: Callable[[], None], before: Callable[[], None]) -> None:
        """Create and start the container; call `meanwhile` while it sets itself up, `before` when all is ready.

        Raises what kept it from running; nothing of it is left then.
        """
        try:
            created = self._create(meanwhile, before)
        except BaseException:
            self.disconnect()
            self._remove_cgroup()
            self._forget_state()
            raise
        created.sock.close()
        self.pid, self.pidfd, self._started = created.pid, created.pidfd, created.started
        self.loop.watch(self.pidfd, self._look)

    def resume(self, state: runtime_state.State, console: int, pidfd: int = -1) -> None:
        """Go on with a run that another supervisor has begun. Its process may have ended; `pidfd` is its own where whoever comes has it."""
        self.pid, self.started_at, self.console = state.pid, state.started_at or state.created, console
        self.cgroup = cgroups.from_paths(state.cgroup)
        self._alone, self._started, self._state = state.own_pids, state.started, state
        self._turn_pump(self._log_again())
        self.pump.recover()
        if pidfd >= 0:
            self.pidfd = pidfd
            self._be_strange()
            return
        try:
            self.pidfd = os.pidfd_open(self.pid)  # its number is nobody else's: it was not reaped, or that is still to be heard
        except ProcessLookupError:
            self.loop.after(_SECONDS_TO_TELL, self._is_lost)
            return
        parent = process.parent(self.pid)
        if parent == os.getpid():
            self.loop.watch(self.pidfd, self._look)
        elif parent != os.getppid():
            self._be_strange()

    def _create(self, meanwhile: Callable[[], None], before: Callable[[], None]) -> runtime.Created:
        wish, volumes = self._with_cgroup(self.watch.wish), self._volumes()
        if self._shown_namespaces:
            wish = wish.replace(tell_namespaces=True)
        if volumes:
            wish = wish.replace(binds=volumes.binds, trees={**wish.trees, **volumes.hand_over()})
        who = wish.spec.process
        assert who
        try:
            created = runtime.begin(wish)
        except BaseException:
            if volumes:
                volumes.abandon()
            raise
        self.cgroup = created.cgroup
        try:
            for fd in (*wish.stdio, *wish.held):
                if fd >= 0:
                    os.close(fd)
            self._save_state(created)  # while it mounts
            if self.watch.pidfile:
                from cratebox.engine import pidfile

                pidfile.write(self.watch.pidfile, created.pid)
            meanwhile()
            self._connect(created)
            log = self._log()
            runtime.await_ready(created)
            if volumes:
                volumes.settle()
            self.console = created.console
            self._turn_pump(log)
            before()
            runtime.start(created, who.args[0])
        except BaseException:
            runtime.end(created)
            if volumes:
                volumes.abandon()
            raise
        return created

    @property
    def _shown_namespaces(self) -> bool:
        """Whether the container's process has to hand its namespaces out, so that it can be connected."""
        network = self.watch.network
        return self.watch.container.owner.rootless and network is not None and bool(network.endpoints)

    def _connect(self, created: runtime.Created) -> None:
        """Put the container on its networks, before its program runs. Raises RuntimeFailure."""
        if self.watch.network:
            from cratebox.engine import connections  # loaded by the client, who reserved them

            who = self.watch.container
            namespaces = runtime.namespaces_of(created) if self._shown_namespaces else None
            try:
                connections.attach(who.paths, who.owner.rootless, self.watch.network, created.pid, namespaces)
            except CrateError:
                runtime.await_ready(created)  # where its own failure ended it first, that is what to tell
                raise
            finally:
                for fd in namespaces or ():
                    os.close(fd)

    def disconnect(self) -> None:
        """Give its addresses and ports back; interfaces go with the namespace. Whoever wants them next may have them at once."""
        if self.watch.network:
            from cratebox.engine import connections

            who = self.watch.container
            connections.release(who.paths, who.owner.rootless, who.id)
            for fd in self.watch.ports:
                os.close(fd)
            self.watch = self.watch.replace(ports=())

    def _volumes(self) -> Filling | None:
        """Return what has to be done with volumes until the container is ready; None where it has none."""
        if not self.watch.volumes:
            return None
        from cratebox.engine.volume_filling import Filling

        which = self.watch.container
        return Filling(which.paths, self.watch.volumes, self.watch.wish.binds)

    def _turn_pump(self, log: LogWriter | None) -> None:
        if self.console >= 0:
            sources = [Stream("stdout", self.console)]
        else:
            # The pipes stay, for the next run and in the guardian; what the pump has is its own to close.
            pipes = zip(("stdout", "stderr"), self.watch.output, strict=True)
            sources = [Stream(name, os.dup(fd)) for name, fd in pipes if fd >= 0]
        self.pump = Pump(self.loop, sources, log, self._unheard, self._holds)

    def _holds(self, log: LogWriter) -> Holds:
        """Return where output is held on its way to the log. Raises OSError."""
        out_read, out_write, err_read, err_write = self.watch.holds
        from cratebox.engine.holding import Holds

        pairs = {"stdout": (out_read, out_write), "stderr": (err_read, err_write)}
        return Holds(self.watch.state_directory + "/log.at", log, pairs)

    def _with_cgroup(self, wish: Wish) -> Wish:
        """Being born in a cgroup of v2 saves a lock over all processes; in v1 joining is cheap, making is not."""
        driver = detect.driver("", self.watch.container.owner.rootless)
        if driver.born_inside:
            self.cgroup = _make_cgroup(driver, wish.spec)
            return wish.replace(cgroup=self.cgroup)
        return wish.replace(make_cgroup=lambda _pid: _make_cgroup(driver, wish.spec))

    def _log(self) -> LogWriter | None:
        try:
            wish = self.watch.log
            return LogWriter(self.watch.directory + "/log", wish, self.watch.state_directory + "/log-error") if wish else None
        except OSError as error:
            raise StorageError(f"cannot write the container's log: {error.strerror}") from None

    def _log_again(self) -> LogWriter | None:
        """A log that cannot be opened any more is no reason to leave the container."""
        try:
            return self._log()
        except StorageError as error:
            logs.tell_trouble(self.watch.state_directory + "/log-error", error.message)
            return None

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
            pipes=streams.inodes(self.watch.stdin, self.watch.output),
        )
        try:
            runtime_state.save(self.watch.state_directory, saved)
        except OSError as error:
            raise StorageError(f"cannot write {self.watch.state_directory}: {error.strerror}") from None
        self._state = saved

    def keep_state(self) -> None:
        """Hold the file of its state, written again where somebody has deleted it (a logout takes $XDG_RUNTIME_DIR away)."""
        if self._state is None or self.pidfd < 0:
            return
        path = self.watch.state_directory + "/state.json"
        try:
            if self.state_fd < 0 or not os.path.exists(path):
                if not os.path.exists(path):
                    runtime_state.save(private_directory(self.watch.state_directory), self._state)
                streams.close(self.state_fd)
                self.state_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (OSError, StorageError):
            pass  # a full disk: its supervisor knows it as long as it is there

    # Staying

    def stay(self) -> exits.Exit:
        """Stay until the container has ended and all that it said is passed on; return how it ended."""
        failed = ""
        try:
            while self.code is None or self.pump.open:
                self.loop.turn()
        except Exception as error:  # noqa: BLE001  nobody would be there for its output, its exit code and its end
            self._kill()
            failed = f"its supervisor failed: {type(error).__name__}: {error}"
        self.pump.close()
        return exits.Exit(self.code or 0, self.started_at, time.time(), failed or self.pump.log_error)

    def signal(self, number: int) -> None:
        """Send a signal to the container's first process; nothing where that has ended. Raises OSError, ValueError."""
        if self.pidfd >= 0:
            process.send_signal(self.pidfd, number)

    def _look(self) -> None:
        """The container's process has ended. It is reaped when that is written down: until then it can be asked again."""
        how = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOWAIT)
        assert how
        self._ended(how.si_status if how.si_code == os.CLD_EXITED else 128 + how.si_status)

    def told(self, pid: int, status: int) -> bool:
        """Hear from the guardian, whose child the process may be, how a process ended; tell whether it is this run's."""
        if pid != self.pid:
            return False
        if self.code is None:
            self._ended(process.waited_status(status))
        return True

    def _ended(self, code: int) -> None:
        self.code = code
        self._end_others()  # they have its output open
        self._let_go()
        self.pump.writers_are_gone()
        if self.pump.waiting:
            self.loop.after(_SECONDS_AFTER_EXIT, self.pump.wait_no_more)

    @property
    def can_be_left(self) -> bool:
        """Whether another supervisor could go on with it and nothing be lost."""
        known = self.strange or process.parent(self.pid) in {os.getpid(), os.getppid()}
        return self.pidfd >= 0 and self.pump.rests and known

    def orphan(self, guardian: int) -> None:
        """The container's process is no child of this process any more. Where it is the guardian's, he tells how it ended."""
        if self.pidfd >= 0:
            self.loop.unwatch(self.pidfd)
            if process.parent(self.pid) != guardian:
                self._be_strange()

    def _be_strange(self) -> None:
        """The process is somebody else's child: what remains is to ask the kernel how it ended, which it tells until it is reaped, and
        since 6.15 for as long as somebody has its pidfd.
        """
        self.strange = True
        self._questions = int(_SECONDS_TO_TELL / _PAUSE)
        self.loop.watch(self.pidfd, self._ask)

    def _ask(self) -> None:
        self.loop.unwatch(self.pidfd)
        status = process.zombie_status(self.pid, self._started)
        if status is None:
            status = process.reaped_status(self.pidfd)
        if status is not None:
            self._ended(process.waited_status(status))
        elif self._questions:
            self._questions -= 1
            self.loop.after(_PAUSE, self._ask)  # its parent has not reaped it yet
        else:
            self._is_lost()

    def _is_lost(self) -> None:
        if self.code is None:
            self._ended(exits.LOST)

    def _kill(self) -> None:
        """End the container, whose PID namespace ends with its first process."""
        if self.code is None:
            if self.pidfd >= 0:
                process.send_signal(self.pidfd, _SIGKILL)
            self.code = 128 + _SIGKILL
            self._end_others()
            self._let_go()

    def _end_others(self) -> None:
        """End the processes that the end of the first one does not take along."""
        if not self._alone:
            from cratebox.engine import stragglers

            try:
                stragglers.end(self.cgroup)
            except OSError:
                pass  # the cgroup is gone, and they with it

    def _let_go(self) -> None:
        if self.pidfd >= 0:
            self.loop.unwatch(self.pidfd)
            os.close(self.pidfd)
            self.pidfd = -1
        streams.close(self.state_fd)
        self.state_fd = -1

    # Ending

    def clean(self) -> None:
        """Take away what the run had on the machine: its process, its cgroup and the state of both."""
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass  # the guardian's
        self.disconnect()
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
            self._end_others()
            if self.cgroup:
                self.cgroup.remove()
        except (CrateError, OSError):
            pass


def _make_cgroup(driver: Driver, spec: Spec) -> Cgroup:
    assert spec.linux
    return driver.create(spec.linux.cgroups_path, spec.linux.resources)
