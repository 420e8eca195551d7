"""The child side of create: from its first instruction in new namespaces to the gate; program.py goes on from there.

Everything used here is imported before the fork: after pivot_root an import would run the container's files. What goes
wrong is sent to the parent, which alone tells the user.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import const, fdpass, mount, namespaces, process
from cratebox.linux.beneath import make_directories
from cratebox.record import Record
from cratebox.runtime import devices, masks, program, rootfs, sync, terminal
from cratebox.runtime.mounts import Mounter
from cratebox.runtime.spec import Hooks, Linux, Mount, Process, Spec
from cratebox.runtime.wish import Bind, Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any, NoReturn

    from cratebox.runtime.security import Privileges
    from cratebox.runtime.spec import Hook


class RootOrder(Record):
    """All that init is told by its parent about what it makes around its program, and in `program` about that."""

    spec: Spec
    program: program.ProgramOrder
    bundle: str
    overlay: Overlay | None
    gate: int  # a byte read from here lets the program start
    join_cgroup: Callable[[], None]
    cgroup: dict[str, str]  # its directories, by hierarchy
    cgroup_comes: bool  # it is being made, and the parent will send where it is and what to join it by
    mount_cgroup: Callable[[int, Mount, dict[str, str], bool, str], None]
    trees: dict[int, int] = {}  # noqa: RUF012  mounts opened before the fork, see sources.py; never changed
    root: int = -1  # the root, mounted already
    given: dict[int, int] = {}  # noqa: RUF012  mounts that whoever wishes has made; never changed
    tell_namespaces: bool = False
    binds: dict[int, Bind] = {}  # noqa: RUF012  what the mounts of these numbers are beyond the spec; never changed
    no_pivot: bool = False
    new_userns: bool = False
    joined: bool = False  # our parent was a joiner, see joining.py
    hook_state: dict[str, Any] | None = None
    callers: dict[str, tuple[int, int]] = {}  # noqa: RUF012  the parent's namespaces that linux.sysctl must not reach
    door: int = -1  # who comes there is told the way in, until the program starts
    hook_stub: int = -1  # a stub for the hooks startContainer


def main(order: RootOrder) -> None:
    """Become the container's process; never returns. Runs in the child of clone(2)."""
    program.guard(order.program, lambda: _become(order))


def _become(order: RootOrder) -> None:
    spec, linux = order.spec, order.spec.linux
    assert linux
    _become_root_of_namespace(order, order.program.process)
    program.leave_caller(order.program)
    if any(namespace.type == "network" and not namespace.path for namespace in linux.namespaces):
        _raise_loopback()
    console, own_null, shown = _set_up_root(order, spec, order.program.process, linux)
    if shown:
        kept = (*order.program.keep, order.door, *shown.values())
        order = order.replace(program=order.program.replace(keep=kept))
    _name(spec)
    privileges, path = program.prepare(order.program, console, own_null)
    program.load_listening_filter(order.program, privileges)
    fdpass.send(order.program.sock, sync.READY)
    _wait_at_gate(order, shown)
    if spec.hooks and spec.hooks.start_container:
        _run_hooks_of_start(order, spec.hooks, privileges)
    program.execute(order.program, privileges, path)


def _become_root_of_namespace(order: RootOrder, who: Process) -> None:
    if order.new_userns and fdpass.receive(order.program.sock)[0] != sync.MAPPED:
        os._exit(1)  # the parent died, or could not write the maps and says so itself
    if not order.joined:  # else we have inherited it, and are non-dumpable already
        program.set_oom_score(who)
    if order.new_userns:
        program.become_root()
    if order.tell_namespaces:
        _tell_namespaces(order.program.sock)
    # The maps are written: from here on no other process may look in, a container that joins our pid namespace included.
    process.set_dumpable(False)


def _tell_namespaces(sock: _socket.socket) -> None:
    """From here until it executes its program nobody without privilege may look into this process, not even who owns it."""
    fds = tuple(os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "net"))
    fdpass.send(sock, sync.NAMESPACES, fds)
    for fd in fds:
        os.close(fd)


def _enter_cgroup(order: RootOrder, linux: Linux) -> dict[str, str]:
    """Join the container's cgroup and make it the root of a cgroup namespace; return its directories, by hierarchy."""
    directories = order.cgroup
    if order.cgroup_comes:
        message, fds = fdpass.receive(order.program.sock, most_fds=32)
        if message[:1] != sync.CGROUP:
            os._exit(1)  # the parent died, or could not make it and says so itself
        directories = sync.unpack_cgroup(message)
        for fd in fds:
            os.write(fd, b"0")
            os.close(fd)
    else:
        order.join_cgroup()
    if any(namespace.type == "cgroup" and not namespace.path for namespace in linux.namespaces):
        namespaces.unshare(const.CLONE_NEWCGROUP)  # after joining: its root is the cgroup that we are in now
    return directories


def _set_up_root(order: RootOrder, spec: Spec, who: Process, linux: Linux) -> tuple[int, int, dict[str, int]]:
    """Mount all, then pivot; return the console's slave and the container's own /dev/null, or -1 for each,
    and what is shown at the door.
    """
    root = rootfs.mount_root(spec, order.bundle, order.overlay, order.root)
    null = devices.open_null()
    mounter = Mounter(root, spec, order.trees, order.given, order.binds)
    # The cgroup is being made while we mount; only what shows cgroups has to wait for it,
    # and what fills memory that counts there.
    late = (n for n, one in enumerate(spec.mounts) if _needs_cgroup(one) or n in order.binds)
    first = next(late, len(spec.mounts))
    mounter.mount(0, first)
    directories = _enter_cgroup(order, linux)
    own = any(namespace.type == "cgroup" for namespace in linux.namespaces)
    show = order.mount_cgroup
    mounter.mount(first, len(spec.mounts), lambda one: show(root, one, directories, own, linux.mount_label))
    if devices.are_ours(spec.mounts):
        devices.make(root, linux.devices)
    own_null = devices.open_own_null(root)
    console = terminal.make(order.program.sock, root, who, bind=True) if who.terminal else -1
    os.close(_make_directory(root, who.cwd, "working directory"))
    if spec.hooks:
        _run_hooks_of_create(order, spec.hooks)
    if linux.sysctl:
        from cratebox.runtime import sysctl  # whoever forked us has loaded it: see create.py

        sysctl.apply(linux.sysctl, order.callers)
    mounter.finish()
    masks.make_readonly(root, mounter.places, linux.readonly_paths)
    masks.hide(root, mounter.places, linux.masked_paths, null)
    mounter.close()
    os.close(null)
    if spec.root and spec.root.readonly:
        mount.set_attributes(root, const.MOUNT_ATTR_RDONLY)
    shown: dict[str, int] = {}
    if order.door >= 0:
        from cratebox.runtime import door  # whoever forked us has loaded it: see create.py

        shown = door.open_own()
    (rootfs.move if order.no_pivot else rootfs.pivot)(root)
    rootfs.set_propagation(root, spec)
    os.close(root)
    return console, own_null, shown


def _needs_cgroup(one: Mount) -> bool:
    return one.type in ("cgroup", "cgroup2") or "tmpcopyup" in one.options


def _run_hooks_of_create(order: RootOrder, hooks: Hooks) -> None:
    if not (hooks.prestart or hooks.create_runtime or hooks.create_container):
        return
    fdpass.send(order.program.sock, sync.HOOKS)
    if fdpass.receive(order.program.sock)[0] != sync.HOOKED:
        os._exit(1)  # the parent died, or a hook failed and it says so itself
    if hooks.create_container:
        from cratebox.runtime import hooks as running  # whoever forked us has loaded it: see create.py

        state = {**(order.hook_state or {}), "status": "creating", "pid": os.getpid()}
        running.run("createContainer", hooks.create_container, state, running.spawn_on_host)


def _run_hooks_of_start(order: RootOrder, hooks: Hooks, privileges: Privileges) -> None:
    """Run the container's programs as what they are: with the rights of its own program, and behind its filter."""
    from cratebox.runtime import hooks as running

    who = order.program.process

    def become(hook: Hook) -> NoReturn:
        as_hook = who.replace(args=hook.args or (hook.path,), env=hook.env or who.env)
        program.execute(order.program.replace(process=as_hook, stub=order.hook_stub), privileges, hook.path)

    state = {**(order.hook_state or {}), "status": "created", "pid": os.getpid()}
    keep = (order.hook_stub, *((order.program.label.procfs,) if order.program.label else ()))
    running.run("startContainer", hooks.start_container, state, running.spawn_inside(become, keep))


def _make_directory(root: int, path: str, purpose: str) -> int:
    try:
        return make_directories(root, path)
    except OSError as error:
        raise RuntimeFailure(
            f"cannot use {ascii(path)[1:-1]} as {purpose}: {error.strerror}", "it must be a directory inside of the container"
        ) from None


def _raise_loopback() -> None:
    """A network namespace is born with its loopback down (netdevice(7): SIOCSIFFLAGS, IFF_UP | IFF_RUNNING)."""
    import _socket  # a module of the interpreter itself, loaded already by fdpass
    import fcntl
    import struct

    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
    fcntl.ioctl(sock.fileno(), 0x8914, struct.pack("16sH14x", b"lo", 0x41))
    sock.close()


def _name(spec: Spec) -> None:
    if spec.hostname:
        process.set_hostname(spec.hostname)
    if spec.domainname:
        process.set_domainname(spec.domainname)


def _wait_at_gate(order: RootOrder, shown: dict[str, int]) -> None:
    if order.gate != order.program.sock.fileno() and fdpass.receive(order.program.sock)[0] != sync.KEEP:
        os._exit(1)  # the parent died, and nobody knows of us
    if shown:
        from cratebox.runtime import door  # as above

        door.answer_until(order.gate, order.door, shown)
    if os.read(order.gate, 1) != sync.GO:
        os._exit(0)  # whoever could have started us is gone
    if order.gate not in {order.program.report, order.program.sock.fileno()}:
        os.close(order.gate)
