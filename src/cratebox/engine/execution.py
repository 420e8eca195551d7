"""`exec`: one more process in a container that runs. It is a child of this command, not of the container's supervisor.

What is not said of it is as for the container's own process: its environment, directory, limits, filter and no_new_privileges
are those of the spec of the last start. Who it is, is looked up in the container's /etc/passwd as it is now; root has the
container's capabilities, and with `privileged` all of them.

The process never has a descriptor of the caller's: from one it could open the caller's file anew, read what others write to the
caller's pipe, or type into the caller's terminal. So it writes to pipes, or to a terminal of its own, and this command copies.
"""

from __future__ import annotations

import os
import time

from cratebox import record_file
from cratebox.engine import accounts, events, records, specgen, states, syscall_filter
from cratebox.engine.accounts import Account
from cratebox.engine.config import KEEP_GROUPS
from cratebox.engine.records import Container
from cratebox.errors import InvalidValue, StorageError
from cratebox.linux import caps, tty
from cratebox.linux.process import waited_status
from cratebox.linux.userns import IDMap
from cratebox.paths import Paths
from cratebox.record import Record
from cratebox.runtime import console, devices, inside, validate
from cratebox.runtime import exec as runtime
from cratebox.runtime.spec import ConsoleSize, Process, Spec, User
from cratebox.runtime.state import State, is_frozen
from cratebox.runtime.streams import Streams
from cratebox.runtime.values import check_preserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECONDS_TO_START = 10.0
_PAUSE = 0.005
_PATIENCE = 3  # as many SIGINT or SIGTERM leave a process that does not listen
_INTERRUPTED = 130


class Wanted(Record):
    """The process that is wanted. `env`: KEY=VALUE, later ones win; `detach_keys` are bytes, none for none. `preserve_fds`: the
    caller's descriptors from 3 on that it inherits.
    """

    command: tuple[str, ...]
    user: str = ""
    env: tuple[str, ...] = ()
    working_dir: str = ""
    tty: bool = False
    interactive: bool = False
    detach: bool = False
    privileged: bool = False
    detach_keys: bytes = b"\x10\x11"  # ctrl-p ctrl-q, as Docker's
    preserve_fds: int = 0


class Order(Record):
    """All that has been found out about it: what is to be run where, and under which ID events name it."""

    paths: Paths
    container: Container
    wanted: Wanted
    target: runtime.Target
    process: Process
    id: str

    def tell(self, action: str, **attributes: str) -> None:
        """Write down an event of it."""
        about = {**events.of_container(self.container), "execID": self.id, **attributes}
        events.emit(self.paths, "container", action, self.container.id, about)


def execute(paths: Paths, reference: str, wanted: Wanted) -> int:
    """Run a process in the container `reference`; return its exit code (128+N for signal N), 0 where it was left to itself.

    Raises NotFound, Conflict where the container does not run or is paused, InvalidValue, CommandNotFound,
    CannotInvoke, RuntimeFailure.
    """
    check_preserved(wanted.preserve_fds)  # before there are descriptors of our own
    records.cared_for(paths, records.load(paths, records.find(paths, reference)))
    order = prepare(paths, reference, wanted)
    words = " ".join(wanted.command)
    order.tell(f"exec_create: {words}")
    if wanted.detach:
        from cratebox.engine import execution_detached

        execution_detached.start(order)
        return 0
    return _attached(order)


def prepare(paths: Paths, reference: str, wanted: Wanted) -> Order:
    """Return all that there is to know of a process before it is made. Raises as `execute`."""
    container = records.load(paths, records.find(paths, reference))
    return _order(paths, container, _running(paths, container), wanted)


def _running(paths: Paths, container: Container) -> State:
    """Return the state of the container, waiting for one that is just being started. Raises Conflict."""
    end = time.monotonic() + _SECONDS_TO_START
    while True:
        state = records.running_state(paths, container.id)
        if state is not None and inside.is_inside(state):
            break
        status = records.status(paths, container)
        if status.status != "running" or time.monotonic() > end:
            raise states.wrong(status)
        time.sleep(_PAUSE)
    if is_frozen(state):
        raise states.wrong(records.status(paths, container))
    return state


def _order(paths: Paths, container: Container, state: State, wanted: Wanted) -> Order:
    where = records.directory(paths, container.id)
    spec = record_file.read(where + "/config.json", Spec)
    if spec is None or spec.process is None:
        records.load(paths, container.id)  # NotFound, where it was removed meanwhile
        raise StorageError(f"damaged: {where}/config.json is gone", f"crate restart {container.name} writes it anew")
    if not all(wanted.command[:1]):
        raise InvalidValue("the command is empty", "write one after the container")
    own = spec.process.capabilities.bounding if spec.process.capabilities else ()
    if container.config.secrets:  # they are in no spec on the disk
        from cratebox.engine import secrets

        variables = secrets.environment(paths, container.config.secrets, those_there=True)
        spec = spec.replace(process=spec.process.replace(env=(*spec.process.env, *variables)))
    process = _process(container, spec, _account(container, state, wanted), wanted, own)
    validate.check_process(process)
    keeps = container.config.group_add == KEEP_GROUPS
    target = runtime.Target(state, spec.linux, syscall_filter.filter_of(paths, container.config, own, where), keeps)
    return Order(paths, container, wanted, target, process, records.new_id())


def _account(container: Container, state: State, wanted: Wanted) -> Account:
    root = inside.open_root(state)
    try:
        user = wanted.user or (container.config.user if container.config.user is not None else container.defaults.user)
        tree = (f"/proc/self/fd/{root}",)
        account = accounts.resolve(user, tree)
        wished = container.config.group_add
        added = accounts.groups(wished, tree) if wished and wished != KEEP_GROUPS else ()
        return account.replace(groups=(*account.groups, *added))
    finally:
        os.close(root)


def _process(container: Container, spec: Spec, account: Account, wanted: Wanted, own: tuple[str, ...]) -> Process:
    assert spec.process
    gids = spec.linux.gid_mappings if spec.linux else ()
    groups = specgen.mapped(account.groups, tuple(IDMap(one.container_id, one.host_id, one.size) for one in gids))
    return spec.process.replace(
        args=wanted.command,
        cwd=wanted.working_dir or spec.process.cwd,
        env=environment(container, spec.process.env, account, wanted),
        terminal=wanted.tty,
        console_size=_terminal_size() if wanted.tty and not wanted.detach else None,
        user=User(account.uid, account.gid, spec.process.user.umask, groups),
        capabilities=specgen.capabilities_for(caps.NAMES if wanted.privileged else own, account),
    )


def environment(container: Container, own: tuple[str, ...], account: Account, wanted: Wanted) -> tuple[str, ...]:
    """Return the variables of the container's process with those of `wanted`. HOME and TERM go by user and terminal, where
    neither the image nor anybody else says what they are.
    """
    said = {entry.partition("=")[0] for entry in (*container.defaults.env, *container.config.env)}
    found = {name: entry for entry in own if (name := entry.partition("=")[0]) in said or name not in ("HOME", "TERM")}
    if wanted.tty:
        found.setdefault("TERM", "TERM=xterm")
    found.update((entry.partition("=")[0], entry) for entry in wanted.env)
    found.setdefault("HOME", "HOME=" + account.home)
    return tuple(found.values())


def _terminal_size() -> ConsoleSize | None:
    try:
        return ConsoleSize(*tty.size(0))
    except OSError:
        return None


def _attached(order: Order) -> int:
    """Stay with the process until it ends; return its exit code."""
    before = console.hold_signals()
    plumbing = _Plumbing(order.wanted)
    joined = None
    try:
        try:
            joined = runtime.begin(order.target, order.process, settings_of(order.wanted), plumbing.theirs)
        finally:
            plumbing.close_theirs()
        order.tell(f"exec_start: {' '.join(order.wanted.command)}")
        streams = plumbing.streams(joined.pidfd, joined.console)
        if not console.stay(streams, joined.console if order.wanted.interactive else -1, before):
            return _left(order, joined, streams)
        code = waited_status(os.waitpid(joined.pid, 0)[1])
        order.tell("exec_die", exitCode=str(code))
        if streams.unwritten:
            from cratebox.engine.unwritten import failure

            raise failure(*streams.unwritten, code)
        return code
    finally:
        plumbing.close()
        if joined:
            joined.close()
        console.release_signals(before)


def settings_of(wanted: Wanted) -> runtime.Settings:
    """Return what the runtime is told beside the process."""
    return runtime.Settings(detach=wanted.detach, preserve_fds=wanted.preserve_fds)


def _left(order: Order, joined: runtime.Joined, streams: Streams) -> int:
    """The user does not stay; the process does, and so must its terminal."""
    if not streams.detached:
        return _INTERRUPTED
    from cratebox.engine import execution_detached

    execution_detached.hold(order, joined)
    return 0


class _Plumbing:
    """The pipes between a process and this command. A null device of ours needs none: the process gets its container's own."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._ours: dict[int, int] = {}
        self._made: list[int] = []
        theirs = []
        for number in (0, 1, 2):
            if wanted.tty or (number and devices.is_null(number)):
                theirs.append(number)
            elif number == 0 and not wanted.interactive:
                self._made.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
                theirs.append(self._made[-1])
            else:
                reading, writing = os.pipe()
                self._ours[number], end = (reading, writing) if number else (writing, reading)
                self._made.append(end)
                theirs.append(end)
        self.theirs: Any = tuple(theirs)

    def close_theirs(self) -> None:
        """Close what the process has by now."""
        for fd in self._made:
            os.close(fd)
        self._made.clear()

    def streams(self, pidfd: int, master: int) -> Streams:
        """Return the loop that copies; the pipes are its own from here on."""
        wanted, ours = self._wanted, self._ours
        self._ours = {}
        if master >= 0:
            target = master if wanted.interactive else -1
            return Streams(pidfd, ((master, 1),), target, master, wanted.detach_keys, _PATIENCE)
        return Streams(
            pidfd, tuple((ours[number], number) for number in (1, 2) if number in ours), ours.get(0, -1), patience=_PATIENCE
        )

    def close(self) -> None:
        """Close what nobody has taken."""
        self.close_theirs()
        for fd in self._ours.values():
            os.close(fd)
