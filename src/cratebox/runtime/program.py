"""The last part of the way into a container, the same for its first process and for one that joins it later (exec).

Standard streams, limits, identity, capabilities, the working directory, finding the program, the filter of system calls, and
execve(2) by the stub. Runs inside of the container, where an import would run the container's files: everything used
here is imported before the fork. What goes wrong is sent to the parent, which alone tells the user.
"""

from __future__ import annotations

import _signal
import os
import stat

from cratebox.errors import CannotInvoke, CommandNotFound, CrateError, RuntimeFailure
from cratebox.linux import const, fdpass, process, stub, tty
from cratebox.linux.stub import LabelWrite
from cratebox.record import Record
from cratebox.runtime import devices, sync
from cratebox.runtime.home import with_home
from cratebox.runtime.security import Privileges, set_limits
from cratebox.runtime.spec import Linux, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import NoReturn

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProgramOrder(Record):
    """What a process is told about its program by its parent; whatever can be worked out before the fork has been."""

    process: Process
    stdio: tuple[int, int, int]
    sock: _socket.socket  # to the parent: what goes wrong on the way is written here
    report: int  # what goes wrong at the end is written here
    stub: int  # the sealed stub, see linux/stub.py
    filter: tuple[bytes, int] | None  # of system calls, and its flags
    last_cap: int
    keep: tuple[int, ...] = ()  # further descriptors that are needed until execve(2), and closed by it
    also: str = ""  # a second program that must be there, since the first one will execute it
    preserve_fds: int = 0
    new_keyring: bool = True
    keep_groups: bool = False
    tune: Callable[[], None] | None = None  # see `tuning`
    label: LabelWrite | None = None  # see `labelling`; the stub does it


def tuning(process: Process, linux: Linux | None) -> Callable[[], None] | None:
    """Return what applies scheduler, ioPriority, personality and memoryPolicy, for the order; None where a spec has none.

    To be called before the fork: behind it nothing can be imported.
    """
    if not (process.scheduler or process.io_priority or (linux and (linux.personality or linux.memory_policy))):
        return None
    from cratebox.runtime import scheduling

    return lambda: scheduling.apply(process, linux)


def labelling(process: Process) -> LabelWrite | None:
    """Return the write of the process's label, for the order and the stub, and for the parent to close its descriptor; None
    where a spec has none. Raises Unsupported. To be called before the fork.
    """
    if not (process.apparmor_profile or process.selinux_label):
        return None
    from cratebox.runtime import labels

    return labels.reserve(process)


def guard(order: ProgramOrder, become: Callable[[], None]) -> None:
    """Call `become`, which does not return; tell the parent what keeps it from its end, and exit then."""
    try:
        become()
    except CrateError as error:
        _give_up(order, error)
    except OSError as error:
        _give_up(order, RuntimeFailure(str(error.strerror)))
    except BaseException as error:  # noqa: BLE001  the parent must hear of everything: nobody else would
        _give_up(order, RuntimeFailure(f"internal error in init: {type(error).__name__}: {error}"))


def _give_up(order: ProgramOrder, error: CrateError) -> None:
    message = sync.pack_error(error)
    for fd in {order.sock.fileno(), order.report}:
        try:
            os.write(fd, message)
        except OSError:
            pass  # before the gate nobody reads the report, behind it nobody the socket
    os._exit(error.exit_code)


def set_oom_score(who: Process) -> None:
    """Set oom_score_adj; before the process is non-dumpable, for then the file belongs to the host's root."""
    if who.oom_score_adj is not None:
        write_file("/proc/self/oom_score_adj", str(who.oom_score_adj))


def become_root() -> None:
    """Become root of the user namespace that was just made or joined. Raises OSError."""
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def write_file(path: str, text: str) -> None:
    """Write `text` to a file of the kernel. Raises RuntimeFailure."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, os.fsencode(text))
        finally:
            os.close(fd)
    except OSError as error:
        raise RuntimeFailure(f"cannot write {text!a} to {path}: {error.strerror}") from None


def leave_caller(order: ProgramOrder) -> None:
    """Let go of what the caller's session would hand on: signals, the umask, the session itself, its keyring."""
    _reset_signals()
    os.umask(0o022)  # the caller's is not for what is made in the container
    os.setsid()
    if order.new_keyring:
        process.new_session_keyring()


def _reset_signals() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, a shell SIGINT and SIGQUIT of what it runs in the background, and a caller may have
    blocked others: execve(2) would pass all of it on.
    """
    for number in range(1, _signal.NSIG):
        if _signal.getsignal(number) not in {_signal.SIG_DFL, None}:
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def prepare(order: ProgramOrder, console: int, own_null: int) -> tuple[Privileges, str]:
    """Become who the process is to be, save for what the last steps need; return that, and the program's path.

    `console` is the slave of its terminal, `own_null` the container's /dev/null, or -1 for each.
    """
    who = order.process
    _stdio(order, who, console, own_null)
    os.umask(who.user.umask if who.user.umask is not None else 0o022)
    if order.label:
        from cratebox.runtime import labels  # loaded by `labelling`

        labels.open_procfs(order.label)
    set_limits(who.rlimits)
    if order.tune:
        order.tune()  # in the cgroup, whose processors and memory decide, and with all capabilities
    if who.no_new_privileges:
        process.set_no_new_privileges()
    privileges = Privileges(who.capabilities, order.last_cap)
    privileges.become(who, order.keep_groups)
    process.set_dumpable(False)  # changing IDs may have changed it back
    path = _enter_and_find(who)
    if order.also:
        find_program(order.also, who.env)
    return privileges, path


def load_listening_filter(order: ProgramOrder, privileges: Privileges) -> None:
    """Load a filter that asks a listener, and send the parent the descriptor for it. Before the gate: at the other side of it
    may be somebody who only opens it.
    """
    if order.filter and listens(order.filter):
        fd = privileges.load_filter(*order.filter)
        fdpass.send(order.sock, sync.LISTENER, (fd,))  # execve(2) closes ours


def late_filter(process: Process, compiled: tuple[bytes, int] | None) -> tuple[bytes, int]:
    """Return the filter that the stub loads, the last thing before execve(2), which takes no_new_privs; else none."""
    return compiled if compiled and process.no_new_privileges and not listens(compiled) else (b"", 0)


def listens(compiled: tuple[bytes, int]) -> bool:
    """Say whether a compiled filter has a listener."""
    return bool(compiled[1] & const.SECCOMP_FILTER_FLAG_NEW_LISTENER)


def execute(order: ProgramOrder, privileges: Privileges, path: str) -> NoReturn:
    """Load the filter, drop to the capabilities of the spec and become the program."""
    who = order.process
    env = with_home(who.env, who.user.uid)
    if order.filter and not who.no_new_privileges and not listens(order.filter):
        privileges.load_filter(*order.filter)
    privileges.finish()
    try:
        stub.execute(order.stub, path, who.args, env)
    except OSError as error:  # E2BIG: arguments and environment that are too long for the stub are so for the program
        raise sync.exec_error(path, error.errno or 0) from None


def _stdio(order: ProgramOrder, who: Process, console: int, own_null: int) -> None:
    if console >= 0:
        tty.make_controlling(console)
    for number, fd in enumerate((console,) * 3 if console >= 0 else order.stdio):
        if fd != number:
            os.dup2(fd, number, inheritable=True)
        else:
            os.set_inheritable(fd, True)
    if console < 0:
        for fd in (0, 1, 2):
            if own_null >= 0 and devices.is_null(fd):
                os.dup2(own_null, fd, inheritable=True)
            _give_pipe(fd, who)
    order_fds = (order.sock.fileno(), order.report, order.stub, *order.keep, *((order.label.procfs,) if order.label else ()))
    preserved = tuple(range(3, 3 + order.preserve_fds))
    process.close_from(3, (*order_fds, *preserved))
    for fd in preserved:  # hooks may have been kept from them
        os.set_inheritable(fd, True)
    os.set_inheritable(order.report, True)  # the stub writes there, and closes it when it executes the program


def _give_pipe(fd: int, who: Process) -> None:
    """A program that is not root may open /dev/stdout again: a pipe's owner decides. Never anything but a pipe."""
    if who.user.uid and stat.S_ISFIFO(os.fstat(fd).st_mode):
        try:
            os.fchown(fd, who.user.uid, who.user.gid)
        except OSError:
            pass  # a pipe that belongs to somebody outside of our user namespace stays his


def _enter_and_find(who: Process) -> str:
    try:
        os.chdir(who.cwd)
        here = os.getcwd()
    except OSError as error:
        raise CannotInvoke(f"cannot enter the working directory {ascii(who.cwd)[1:-1]}: {error.strerror}") from None
    if not here.startswith("/"):  # "(unreachable)/...": a directory outside of our root, reached through a descriptor
        raise CannotInvoke(f"the working directory {ascii(who.cwd)[1:-1]} is not inside of the container")
    return find_program(who.args[0], who.env)


def find_program(name: str, env: tuple[str, ...]) -> str:
    """Return the path of the program `name` on the PATH of `env`, as this process may execute it.

    Raises CommandNotFound (127), CannotInvoke (126).
    """
    if "/" in name:
        return _check_program(name)
    path = next((entry[5:] for entry in reversed(env) if entry.startswith("PATH=")), _DEFAULT_PATH)
    denied: CannotInvoke | None = None
    for directory in path.split(":"):
        try:
            return _check_program((directory or ".") + "/" + name)
        except CannotInvoke as error:
            denied = denied or error
        except CommandNotFound:
            pass
    if denied:
        raise denied
    raise CommandNotFound(
        f'exec: "{ascii(name)[1:-1]}": executable file not found in $PATH', f"PATH in the container is {ascii(path)[1:-1]}"
    )


def _check_program(path: str) -> str:
    shown = ascii(path)[1:-1]
    try:
        info = os.stat(path)
    except PermissionError:
        raise CannotInvoke(f'exec: "{shown}": permission denied') from None
    except (OSError, ValueError) as error:
        raise CommandNotFound(f'exec: "{shown}": {str(getattr(error, "strerror", error)).lower()}') from None
    if stat.S_ISDIR(info.st_mode):
        # Engines know the code 126 by "permission denied", the newer ones also by "is a directory".
        raise CannotInvoke(f'exec: "{shown}": is a directory: permission denied')
    if not os.access(path, os.X_OK, effective_ids=os.geteuid() != os.getuid()):
        raise CannotInvoke(f'exec: "{shown}": permission denied', "the file is not executable for the container's user")
    return path
