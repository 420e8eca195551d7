"""The verb exec: another process in a container that is there. The parent's side; enter.py is the child's."""

from __future__ import annotations

import os
import struct
import time

from cratebox.cgroup import base as cgroups
from cratebox.errors import Conflict, CrateError, InvalidValue, RuntimeFailure
from cratebox.linux import caps, fdpass, namespaces, process, stub
from cratebox.record import Record
from cratebox.runtime import console, enter, place, program, seccomp, sync, validate, values, warnings
from cratebox.runtime import state as saved
from cratebox.runtime.spec import Linux, Process, Spec
from cratebox.runtime.wish import keeps_groups

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

_SECONDS_TO_START = 10.0  # from the gate to the program, on a machine that is busy
# What a process document that says nothing about it takes from the container's own process.
_INHERITED = ("capabilities", "rlimits", "oom_score_adj", "apparmor_profile", "selinux_label", "scheduler", "io_priority",
              "exec_cpu_affinity")  # fmt: skip


class Settings(Record):
    """What the caller of exec chooses beside the process. `cgroup` are paths below the container's cgroup, by controller, ""
    for all. `reaper`: the process becomes the parent of all that it starts and that loses its own,
    so that they can be found below it.
    """

    pid_file: str | None = None
    pidfd_socket: str | None = None
    console_socket: str | None = None
    detach: bool = False
    tty: bool = False
    preserve_fds: int = 0  # descriptors 3 and up that the program inherits
    cgroup: dict[str, str] = {}  # noqa: RUF012  a default of a Record is never changed
    ignore_paused: bool = False
    reaper: bool = False


class Joined:
    """The process, a child of ours, on its way to its program or at its gate."""

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.pid = 0
        self.pidfd = -1
        self.console = -1
        self.listener = -1  # of a filter that asks somebody

    def close(self) -> None:
        """Close what is open; where the process has not been let go, that ends it."""
        self.sock.close()
        for fd in (self.pidfd, self.console, self.listener):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.console = self.listener = -1


class Target(Record):
    """The container that is entered: its `state`, what its spec says of Linux, and the compiled filter of system calls;
    `directory` is where its state is kept, for one that may not have been started.
    """

    state: saved.State
    linux: Linux | None
    filter: tuple[bytes, int] | None
    keep_groups: bool = False
    directory: str = ""


def execute(root: str, name: str, wanted: Process, **settings: Any) -> int:
    """Run the process `wanted` in the container `name`; `settings` are the fields of Settings.

    Return its exit code (128+N for signal N), or 0 at once with `detach`. Raises NotFound, Conflict where the container has
    stopped or is paused, InvalidValue, Unsupported, CommandNotFound, CannotInvoke, RuntimeFailure; nothing is left then.
    """
    chosen = Settings(**settings)
    directory = place.directory_of(root, name)
    state = _running(directory, chosen)
    document = saved.load_spec(directory)
    wanted = _completed(wanted, document, chosen)
    linux = document.linux
    profile = seccomp.cached_filter(f"{root}/{place.CACHE}", linux.seccomp) if linux and linux.seccomp else None
    before = console.hold_signals()
    joined = None
    try:
        joined = begin(Target(state, linux, profile, keeps_groups(document.annotations), directory), wanted, chosen)
        if chosen.detach:
            return 0
        console.stay_at(joined.pidfd, joined.console, before)
        return process.waited_status(os.waitpid(joined.pid, 0)[1])
    except OSError as error:
        raise RuntimeFailure(f"cannot run a process in container {name}: {error.strerror}") from None
    finally:
        if joined:
            joined.close()
        console.release_signals(before)


def begin(target: Target, wanted: Process, chosen: Settings, stdio: tuple[int, int, int] = (0, 1, 2)) -> Joined:
    """Make the process `wanted`, which is checked, a child of ours, and let its program run; whoever calls closes what it
    returns, and reaps. Signals are held by the caller. Raises as `execute`, and OSError.
    """
    joined = _join(target, wanted, chosen, stdio)
    _let_go(joined, wanted, chosen)
    return joined


def _running(directory: str, chosen: Settings) -> saved.State:
    state = saved.load(directory)
    now = saved.status(state, directory)
    if now == "paused":
        if not chosen.ignore_paused:
            raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")
    elif now not in {"created", "running"}:
        raise _stopped()
    return state


def _stopped() -> Conflict:
    return Conflict("cannot exec in a stopped container: container not running")


def _completed(wanted: Process, document: Spec, chosen: Settings) -> Process:
    """Return the process with what it takes from the container's own. Raises InvalidValue, Unsupported."""
    own = document.process
    assert own
    taken = {name: getattr(own, name) for name in _INHERITED if not getattr(wanted, name) and getattr(own, name)}
    whole = wanted.replace(terminal=wanted.terminal or chosen.tty, **taken)
    validate.check_process(whole)
    for text in validate.passed_over(whole, document.linux):
        warnings.tell(text)
    if whole.terminal and chosen.detach and not chosen.console_socket:
        raise InvalidValue("cannot detach from a terminal without --console-socket: it must say where to send it")
    if chosen.console_socket and not whole.terminal:
        raise InvalidValue("--console-socket without a terminal: there is none to send")
    values.check_preserved(chosen.preserve_fds)
    return whole


def _join(target: Target, wanted: Process, chosen: Settings, stdio: tuple[int, int, int]) -> Joined:
    """Make the process and lead it to its gate. Raises what kept it from there; it is gone then."""
    if wanted.rlimits:
        import resource  # noqa: F401  the child cannot import any more
    state, linux = target.state, target.linux
    ours, theirs = fdpass.pair()
    joined = Joined(ours)
    try:
        joiner, watch = _fork(target, wanted, chosen, stdio, ours, theirs)
        theirs.close()
        try:
            _await_ready(joined, watch)
            if linux and linux.intel_rdt:
                from cratebox.runtime import rdt

                rdt.follow(linux.intel_rdt, state.id, joined.pid, rdt.find())
            if joined.listener >= 0:
                assert linux
                assert linux.seccomp
                from cratebox.runtime import bundle

                bundle.listener(state, "running", linux.seccomp)(joined.pid, joined.listener)
        finally:
            os.close(watch)
            os.waitpid(joiner, 0)
    except BaseException:
        joined.close()
        if joined.pid:
            os.waitpid(joined.pid, 0)
        raise
    return joined


def _fork(
    target: Target, wanted: Process, chosen: Settings, stdio: tuple[int, int, int], ours: _socket.socket, theirs: _socket.socket
) -> tuple[int, int]:
    """Clone the joiner; return its pid and a pidfd of it."""
    state, profile = target.state, target.filter
    leader = _open(state)
    try:
        kinds, paths = _way_in(target)
    except BaseException:
        os.close(leader)
        raise
    group = _cgroup(state, chosen.cgroup)
    label = program.labelling(wanted)
    stub_fd = stub.sealed(stub.build(theirs.fileno(), *program.late_filter(wanted, profile), label=label))
    try:
        _open_cgroup(group, state)  # opened here: behind the user namespace they could not be
        order = enter.EnterOrder(
            program=program.ProgramOrder(
                process=wanted,
                stdio=stdio,
                sock=theirs,
                report=theirs.fileno(),
                stub=stub_fd,
                filter=profile,
                last_cap=caps.last(),
                preserve_fds=chosen.preserve_fds,
                keep_groups=target.keep_groups,
                tune=_reaping(program.tuning(wanted, target.linux)) if chosen.reaper else program.tuning(wanted, target.linux),
                label=label,
            ),
            target=leader,
            kinds=kinds,
            paths=paths,
            join_cgroup=_on_cpus(wanted, group.join),
        )
        pid, pidfd = namespaces.clone(0)
        if pid == 0:
            ours.close()
            enter.main(order)
    finally:
        group.close()
        os.close(stub_fd)
        if label:
            os.close(label.procfs)
        for fd in (leader, *(fd for fd, _kind in paths)):
            os.close(fd)
    return pid, pidfd


def _open_cgroup(group: cgroups.Cgroup, state: saved.State) -> None:
    try:
        group.join_fds()
    except FileNotFoundError:
        if process.start_time(state.pid) != state.started:
            raise _stopped() from None  # it has ended meanwhile, and its cgroup with it
        raise


def _reaping(tune: Callable[[], None] | None) -> Callable[[], None]:
    """Return what makes the process a reaper, which survives execve(2), and does `tune`. PR_SET_CHILD_SUBREAPER, prctl(2)."""

    def both() -> None:
        process.set_subreaper(True)
        if tune:
            tune()

    return both


def _on_cpus(wanted: Process, join: Callable[[], None]) -> Callable[[], None]:
    """Return `join` between the two parts of process.execCPUAffinity, where there is one."""
    cpus = wanted.exec_cpu_affinity
    if not cpus:
        return join
    from cratebox.runtime.scheduling import set_affinity

    def joined() -> None:
        set_affinity(cpus.initial, "initial")
        join()
        set_affinity(cpus.final, "final")

    return joined


def _open(state: saved.State) -> int:
    try:
        return process.open_pidfd(state.pid, state.started)
    except ProcessLookupError:
        raise _stopped() from None


def _cgroup(state: saved.State, below: dict[str, str]) -> cgroups.Cgroup:
    group = cgroups.from_paths(state.cgroup)
    return group.below(below) if below else group.beside(state.pid)


def _way_in(target: Target) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return the flags of the namespaces to join, and descriptors and flags of each where the container's process had to be
    asked.
    """
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            return _kinds(target.state.pid), ()
        except PermissionError:
            paths = _ask(target)
        if paths is not None:
            return sum(kind for _fd, kind in paths), paths
        if not (target.directory and os.path.lexists(f"{target.directory}/door")) or time.monotonic() > deadline:
            break
        time.sleep(0.005)  # it is between the gate and its program
    try:
        return _kinds(target.state.pid), ()  # `start` takes the door away once the program runs
    except PermissionError:
        raise RuntimeFailure(
            "cannot enter the container: permission denied",
            "where its program cannot be read, a container can be entered by root alone",
        ) from None


def _ask(target: Target) -> tuple[tuple[int, int], ...] | None:
    """Return descriptors and flags of the namespaces of a container that waits at its gate, ours left out;
    None where nobody answers.
    """
    if not target.directory:
        return None
    from cratebox.runtime import door

    try:
        found = door.ask(target.directory)
    except OSError:
        return None
    paths = []
    for kind, flag in namespaces.KINDS.items():
        fd = found.get(kind, -1)
        if fd >= 0 and os.path.samestat(os.fstat(fd), os.stat(f"/proc/self/ns/{kind}")):
            os.close(fd)
        elif fd >= 0:
            paths.append((fd, flag))
    return tuple(paths)


def _kinds(pid: int) -> int:
    """Return the flags of the namespaces of process `pid` that are not ours: those that there are to join.
    Raises PermissionError.
    """
    flags = 0
    for name, flag in namespaces.KINDS.items():
        try:
            theirs = os.readlink(f"/proc/{pid}/ns/{name}")
        except FileNotFoundError:
            continue  # a kernel without this kind
        if theirs != os.readlink(f"/proc/self/ns/{name}"):
            flags |= flag
    return flags


def _await_ready(joined: Joined, joiner: int) -> None:
    """Listen until the process waits at its gate. Raises what kept it from there. `joiner` is a pidfd.

    Joiner and process speak through one socket: what the process says may come before what is said about it. Where the joiner
    is killed before it has said that, nobody will: the process keeps the socket open, and ends when we close ours.
    """
    ready, error = False, None
    while not joined.pid or not (ready or error):
        if (ready or error) and not _will_tell(joiner, joined.sock):
            break
        message, fds = fdpass.receive(joined.sock)
        if message == sync.READY:
            ready = True
        elif message[:1] == sync.JOINED and len(fds) == 1:
            joined.pid, joined.pidfd = struct.unpack("=i", message[1:5])[0], fds[0]
        elif message == sync.CONSOLE and len(fds) == 1:
            joined.console = fds[0]
        elif message == sync.LISTENER and len(fds) == 1:
            joined.listener = fds[0]
        elif message[:1] == sync.FAILED:
            error = sync.unpack_error(message)
        else:
            break
    if not ready or not joined.pid:
        raise error or _died()


def _will_tell(joiner: int, sock: _socket.socket) -> bool:
    """Wait until the joiner has spoken or ended; say whether it has spoken."""
    import select

    poll = select.poll()
    poll.register(sock, select.POLLIN)
    heard = poll.poll(0)
    if not heard:
        poll.register(joiner, select.POLLIN)
        poll.poll()
        poll.unregister(joiner)
        heard = poll.poll(0)  # its last word came before its end
    return bool(heard)


def _go(joined: Joined, command: str) -> CrateError | None:
    """Let the process run `command`; return what kept it from that."""
    try:
        joined.sock.send(sync.GO)
        return sync.read_report(fdpass.receive(joined.sock)[0], command)
    except (BrokenPipeError, ConnectionResetError):
        return _died()


def _died() -> RuntimeFailure:
    return RuntimeFailure("the process died on its way into the container", "the container ended, or memory ran out: see dmesg")


def _let_go(joined: Joined, wanted: Process, chosen: Settings) -> None:
    """Tell others of the process, then let it run its program. Raises what kept it from that; it is gone then."""
    written = False
    try:
        if chosen.pid_file:
            from cratebox.runtime import bundle

            bundle.write_pid(chosen.pid_file, joined.pid)
            written = True
        if chosen.pidfd_socket:
            console.send(chosen.pidfd_socket, joined.pidfd, "pidfd")
        if chosen.console_socket:
            console.send(chosen.console_socket, joined.console)
            os.close(joined.console)
            joined.console = -1
        error = _go(joined, wanted.args[0])
        if error:
            raise error
    except BaseException:
        joined.close()
        os.waitpid(joined.pid, 0)
        if written:
            place.unlink("", str(chosen.pid_file))
        raise
