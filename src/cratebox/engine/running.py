"""One run of a container: begun, kept until the last byte of its output, and ended. What follows it is `life.py`'s to know."""

from __future__ import annotations

import os
import time

from cratebox.cgroup import base as cgroups
from cratebox.cgroup import detect
from cratebox.engine import exits, logs, streams
from cratebox.engine.logs import LogWriter
from cratebox.engine.pump import Pump, Stream
from cratebox.engine.vigil import Vigil
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

_SECONDS_AFTER_EXIT = 2.0  # for output on its way through a terminal, which a descriptor elsewhere could keep open for ever


class Run:
    """The container's first process, which `vigil` holds, its output and its cgroup.

    `console` is the master of its terminal, or -1; the pump's to close.
    """

    def __init__(self, watch: Watch, loop: Loop, unheard: Callable[[Stream], None]) -> None:
        self.watch, self.loop = watch, loop
        self._unheard = unheard
        self.vigil = Vigil(loop, self._ended)
        self.console = -1
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
        self.vigil.begin(created.pid, created.pidfd, created.started)

    def resume(self, state: runtime_state.State, console: int, pidfd: int = -1) -> None:
        """Go on with a run that another supervisor has begun. Its process may have ended;
        `pidfd` is its own where whoever comes has it.
        """
        self.started_at, self.console = state.started_at or state.created, console
        self.cgroup = cgroups.from_paths(state.cgroup)
        self._alone, self._state = state.own_pids, state
        self._turn_pump(self._log_again())
        self.pump.recover()
        self.vigil.resume(state.pid, state.started, pidfd)

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
        begins = -1
        try:
            for fd in (*wish.stdio, *wish.held):
                if fd >= 0:
                    os.close(fd)
            begins = self._hold_state()
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
        finally:
            if begins >= 0:
                runtime_state.let_go(begins)
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
        """Give its addresses and ports back; interfaces go with the namespace.
        Whoever wants them next may have them at once.
        """
        if self.watch.network:
            from cratebox.engine import connections

            who = self.watch.container
            connections.release(who.paths, who.owner.rootless, who.id, remember=not self.watch.remove)
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

    def _hold_state(self) -> int:
        """Hold the lock of its state, which others find from now on: nobody signals, freezes or limits what is half made.
        They wait, and come as if they had come later.
        """
        while (lock := runtime_state.hold(private_directory(self.watch.state_directory))) < 0:
            pass  # deleted in between
        return lock

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
        if self._state is None or self.vigil.pidfd < 0:
            return
        from cratebox.linux.regular import open_regular

        path = self.watch.state_directory + "/state.json"
        try:
            if self.state_fd < 0 or not os.path.exists(path):
                if not os.path.exists(path):
                    runtime_state.save(private_directory(self.watch.state_directory), self._state)
                held = open_regular(path)
                streams.close(self.state_fd)
                self.state_fd = held
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

    @property
    def can_be_left(self) -> bool:
        """Whether another supervisor could go on with it and nothing be lost."""
        return self.vigil.can_be_left and self.pump.rests

    def _ended(self, code: int) -> None:
        self.code = code
        self._end_others()  # they have its output open
        self._let_go()
        self.pump.writers_are_gone()
        if self.pump.waiting:
            self.loop.after(_SECONDS_AFTER_EXIT, self.pump.wait_no_more)

    def _kill(self) -> None:
        """End the container, whose PID namespace ends with its first process."""
        if self.code is None:
            self.code = self.vigil.kill()
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
        streams.close(self.state_fd)
        self.state_fd = -1

    # Ending

    def clean(self) -> None:
        """Take away what the run had on the machine: its process, its cgroup and the state of both."""
        self.vigil.reap()
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
                _thaw(self.cgroup)
                self.cgroup.remove()
        except (CrateError, OSError):
            pass


def _thaw(cgroup: Cgroup) -> None:
    """Where it was paused in the moment in which it ended, an `exec` that was on its way in would stay there for ever."""
    try:
        if cgroup.is_frozen():
            cgroup.thaw()
    except CrateError:
        pass  # one above it is frozen, or it is gone


def _make_cgroup(driver: Driver, spec: Spec) -> Cgroup:
    assert spec.linux
    return driver.create(spec.linux.cgroups_path, spec.linux.resources)
