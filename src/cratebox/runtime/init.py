"""The child side: from its first instruction in new namespaces to execve(2) of the container's program.

Everything used here is imported before the fork: after pivot_root an import would run the container's files. What goes
wrong is sent to the parent, which alone tells the user.
"""

from __future__ import annotations

import _signal
import os
import stat

from cratebox.errors import CannotInvoke, CommandNotFound, CrateError, RuntimeFailure
from cratebox.linux import const, fdpass, mount, namespaces, process, stub, tty
from cratebox.linux.beneath import make_directories, open_beneath
from cratebox.record import Record
from cratebox.runtime import devices, rootfs, sync
from cratebox.runtime.mount_options import is_new
from cratebox.runtime.security import Privileges, set_limits
from cratebox.runtime.spec import Linux, Mount, Process, Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import NoReturn

_NEEDS_DEVPTS = "the container needs a devpts at /dev/pts"
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Order(Record):
    """All that init is told by its parent; whatever can be worked out before the fork has been."""

    spec: Spec
    bundle: str
    overlay: rootfs.Overlay | None
    stdio: tuple[int, int, int]
    sock: _socket.socket
    gate: int  # a byte read from here lets the program start
    report: int  # what goes wrong after that is written here
    stub: int  # the sealed stub, see linux/stub.py
    filter: tuple[bytes, int] | None  # of system calls, and its flags
    join_cgroup: Callable[[], None]
    cgroup: dict[str, str]  # its directories, by hierarchy
    cgroup_comes: bool  # it is being made, and the parent will send where it is and what to join it by
    mount_cgroup: Callable[[int, Mount, dict[str, str], bool], None]
    last_cap: int
    directories: tuple[str, ...] = ()  # to be made in the root where they are missing
    also: str = ""  # a second program that must be there, since the first one will execute it
    preserve_fds: int = 0
    new_userns: bool = False
    new_keyring: bool = True


def main(order: Order) -> None:
    """Become the container's process; never returns. Runs in the child of clone(2)."""
    try:
        spec, who, linux = order.spec, order.spec.process, order.spec.linux
        assert who
        assert linux
        _become_root_of_namespace(order, who)
        privileges, path = _set_up(order, spec, who, linux)
        fdpass.send(order.sock, sync.READY)
        _wait_at_gate(order)
        if order.filter and not who.no_new_privileges:
            privileges.load_filter(*order.filter)
        privileges.finish()
        _execute(order, path, who)
    except CrateError as error:
        _give_up(order, error)
    except OSError as error:
        _give_up(order, RuntimeFailure(str(error.strerror)))
    except BaseException as error:  # noqa: BLE001  the parent must hear of everything: nobody else would
        _give_up(order, RuntimeFailure(f"internal error in init: {type(error).__name__}: {error}"))


def _execute(order: Order, path: str, who: Process) -> NoReturn:
    try:
        stub.execute(order.stub, path, who.args, who.env)
    except OSError as error:  # E2BIG: arguments and environment that are too long for the stub are so for the program
        raise sync.exec_error(path, error.errno or 0) from None


def _give_up(order: Order, error: CrateError) -> None:
    message = sync.pack_error(error)
    for fd in {order.sock.fileno(), order.report}:
        try:
            os.write(fd, message)
        except OSError:
            pass  # before the gate nobody reads the report, behind it nobody the socket
    os._exit(error.exit_code)


def _become_root_of_namespace(order: Order, who: Process) -> None:
    if order.new_userns and fdpass.receive(order.sock)[0] != sync.MAPPED:
        os._exit(1)  # the parent died, or could not write the maps and says so itself
    if who.oom_score_adj is not None:  # while we are dumpable: later the file belongs to the host's root
        _write_file("/proc/self/oom_score_adj", str(who.oom_score_adj))
    if order.new_userns:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    # The maps are written: from here on no other process may look in, a container that joins our pid namespace included.
    process.set_dumpable(False)


def _reset_signals() -> None:
    """Python ignores SIGPIPE and SIGXFSZ, a shell SIGINT and SIGQUIT of what it runs in the background, and a caller may have
    blocked others: execve(2) would pass all of it on.
    """
    for number in range(1, _signal.NSIG):
        if _signal.getsignal(number) not in {_signal.SIG_DFL, None}:
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _set_up(order: Order, spec: Spec, who: Process, linux: Linux) -> tuple[Privileges, str]:
    _reset_signals()
    os.umask(0o022)  # the caller's is not for the directories that are made in the container
    os.setsid()
    kinds = {namespace.type for namespace in linux.namespaces}
    if order.new_keyring:
        process.new_session_keyring()
    if "network" in kinds:
        _raise_loopback()
    console, own_null = _set_up_root(order, spec, who, linux)
    _name(spec)
    _stdio(order, who, console, own_null)
    os.umask(who.user.umask if who.user.umask is not None else 0o022)
    set_limits(who.rlimits)
    if who.no_new_privileges:
        process.set_no_new_privileges()
    privileges = Privileges(who.capabilities, order.last_cap)
    privileges.become(who)
    process.set_dumpable(False)  # changing IDs may have changed it back
    path = _enter_and_find(who)
    if order.also:
        find_program(order.also, who.env)
    return privileges, path


def _enter_cgroup(order: Order, linux: Linux) -> dict[str, str]:
    """Join the container's cgroup and make it the root of a cgroup namespace; return its directories, by hierarchy."""
    directories = order.cgroup
    if order.cgroup_comes:
        message, fds = fdpass.receive(order.sock, most_fds=32)
        if message[:1] != sync.CGROUP:
            os._exit(1)  # the parent died, or could not make it and says so itself
        directories = sync.unpack_cgroup(message)
        for fd in fds:
            os.write(fd, b"0")
            os.close(fd)
    else:
        order.join_cgroup()
    if any(namespace.type == "cgroup" for namespace in linux.namespaces):
        namespaces.unshare(const.CLONE_NEWCGROUP)  # after joining: its root is the cgroup that we are in now
    return directories


def _set_up_root(order: Order, spec: Spec, who: Process, linux: Linux) -> tuple[int, int]:
    """Mount all, then pivot; return the console's slave and the container's own /dev/null, or -1 for each."""
    root = rootfs.mount_root(spec, order.bundle, order.overlay)
    null = devices.open_null()
    # The cgroup is being made while we mount; only what shows cgroups has to wait for it.
    first = next((n for n, one in enumerate(spec.mounts) if one.type == "cgroup"), len(spec.mounts))
    rootfs.mount_all(root, spec.mounts[:first])
    directories = _enter_cgroup(order, linux)
    own = any(namespace.type == "cgroup" for namespace in linux.namespaces)
    rootfs.mount_all(root, spec.mounts[first:], lambda one: order.mount_cgroup(root, one, directories, own))
    at_dev = [one for one in spec.mounts if os.path.normpath(one.destination) == "/dev"]
    if at_dev and is_new(at_dev[-1]):  # a directory of the host's, bound there, is not ours to fill
        devices.make(root, linux.devices)
    own_null = devices.open_own_null(root)
    console = _make_console(order, root, who) if who.terminal else -1
    for path in order.directories:
        os.close(_make_directory(root, path, "a volume of the image"))
    os.close(_make_directory(root, who.cwd, "working directory"))
    for name, value in (linux.sysctl or {}).items():
        _write_file("/proc/sys/" + name.replace(".", "/"), value)
    rootfs.make_readonly(root, linux.readonly_paths)
    rootfs.hide(root, linux.masked_paths, null)
    os.close(null)
    if spec.root and spec.root.readonly:
        mount.set_attributes(root, const.MOUNT_ATTR_RDONLY)
    rootfs.pivot(root)
    rootfs.set_propagation(root, spec)
    os.close(root)
    return console, own_null


def _make_directory(root: int, path: str, purpose: str) -> int:
    try:
        return make_directories(root, path)
    except OSError as error:
        raise RuntimeFailure(
            f"cannot use {ascii(path)[1:-1]} as {purpose}: {error.strerror}", "it must be a directory inside of the container"
        ) from None


def _write_file(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, os.fsencode(text))
        finally:
            os.close(fd)
    except OSError as error:
        raise RuntimeFailure(f"cannot write {text!a} to {path}: {error.strerror}") from None


def _raise_loopback() -> None:
    """A network namespace is born with its loopback down (netdevice(7): SIOCSIFFLAGS, IFF_UP | IFF_RUNNING)."""
    import _socket  # a module of the interpreter itself, loaded already by fdpass
    import fcntl
    import struct

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    fcntl.ioctl(sock.fileno(), 0x8914, struct.pack("16sH14x", b"lo", 0x41))
    sock.close()


def _make_console(order: Order, root: int, who: Process) -> int:
    """Make the terminal in the container's own devpts and send its master to the parent."""
    try:
        master, slave, _number = tty.open_pair(_open_ptmx(root))
        if who.console_size:
            tty.set_size(master, who.console_size.height, who.console_size.width)
        _bind_console(root, slave)
        os.fchown(slave, who.user.uid, who.user.gid)
    except OSError as error:
        raise RuntimeFailure(f"cannot make a terminal: {error.strerror}", _NEEDS_DEVPTS) from None
    fdpass.send(order.sock, sync.CONSOLE, (master,))
    os.close(master)
    return slave


def _open_ptmx(root: int) -> int:
    """Open the multiplexer of the devpts at /dev/pts below `root`. Raises RuntimeFailure where it is none, OSError.

    What an image has there instead is looked at before it is opened: that alone may do something (CVE-2025-52565).
    """
    found = open_beneath(root, "dev/pts/ptmx")
    try:
        info = os.fstat(found)
        if mount.filesystem_type(found) != const.DEVPTS_SUPER_MAGIC or info.st_rdev != os.makedev(5, 2):
            raise RuntimeFailure("cannot make a terminal: /dev/pts/ptmx is not that of a devpts file system", _NEEDS_DEVPTS)
        return os.open(f"/proc/self/fd/{found}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(found)


def _bind_console(root: int, slave: int) -> None:
    dev = open_beneath(root, "dev", const.O_PATH | os.O_DIRECTORY)
    try:
        os.close(os.open("console", os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o620, dir_fd=dev))
    except OSError:
        pass  # it is there as something that cannot be opened: what counts is the mount on top
    target = open_beneath(dev, "console")
    tree = mount.clone_tree(f"/proc/self/fd/{slave}", recursive=False)
    mount.attach(tree, target, "/dev/console")
    for fd in (tree, target, dev):
        os.close(fd)


def _name(spec: Spec) -> None:
    if spec.hostname:
        process.set_hostname(spec.hostname)
    if spec.domainname:
        process.set_domainname(spec.domainname)


def _stdio(order: Order, who: Process, console: int, own_null: int) -> None:
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
    order_fds = (order.sock.fileno(), order.gate, order.report, order.stub)
    preserved = tuple(range(3, 3 + order.preserve_fds))
    process.close_from(3, (*order_fds, *preserved))
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
        raise CannotInvoke(f'exec: "{shown}": is a directory')
    if not os.access(path, os.X_OK, effective_ids=os.geteuid() != os.getuid()):
        raise CannotInvoke(f'exec: "{shown}": permission denied', "the file is not executable for the container's user")
    return path


def _wait_at_gate(order: Order) -> None:
    if order.gate != order.sock.fileno() and fdpass.receive(order.sock)[0] != sync.KEEP:
        os._exit(1)  # the parent died, and nobody knows of us
    if os.read(order.gate, 1) != sync.GO:
        os._exit(0)  # whoever could have started us is gone
    if order.gate not in {order.report, order.sock.fileno()}:
        os.close(order.gate)
