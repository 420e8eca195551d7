"""The parent side: namespaces, ID maps, cgroup and the dialogue with init up to the point where it waits at the gate."""

from __future__ import annotations

import os

from cratebox.errors import CrateError, RuntimeFailure, Unsupported
from cratebox.linux import caps, const, fdpass, namespaces, process, stub, userns
from cratebox.runtime import init, mount_options, program, sync
from cratebox.runtime.cgroupfs import mount_cgroup
from cratebox.runtime.spec import Linux
from cratebox.runtime.wish import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from cratebox.cgroup.base import Cgroup
    from cratebox.runtime.wish import Listener

_FLAGS = {
    "pid": const.CLONE_NEWPID,
    "network": const.CLONE_NEWNET,
    "mount": const.CLONE_NEWNS,
    "ipc": const.CLONE_NEWIPC,
    "uts": const.CLONE_NEWUTS,
    "user": const.CLONE_NEWUSER,
}
_EXHAUSTED = (11, 12, 23, 24)  # EAGAIN, ENOMEM, ENFILE, EMFILE: no fault of the namespaces


class Created:
    """A container whose process is on its way to the gate, or waits there. Holds it by pidfd; `sock` is the parent's end
    of the dialogue.
    """

    def __init__(
        self, pid: int, pidfd: int, sock: _socket.socket, group: Cgroup | None, listener: Listener | None = None
    ) -> None:
        self.cgroup = group
        self.pid = pid
        self.pidfd = pidfd
        self.sock = sock
        self.console = -1  # the master of its terminal, once it is ready
        self.listener = listener
        self.started = process.start_time(pid)
        self.hooks: Callable[[], None] | None = None  # runs those that create has to run here
        self.hooks_ran = False


def create(wish: Wish) -> Created:
    """Create the container's process and lead it to the gate. Raises RuntimeFailure and its kin; nothing stays then."""
    created = begin(wish)
    try:
        await_ready(created)
    except BaseException:
        end(created)
        if wish.make_cgroup and created.cgroup:
            created.cgroup.remove()
        raise
    return created


def begin(wish: Wish) -> Created:
    """Clone the container's process and make what it waits for; it mounts meanwhile. The caller goes on with `await_ready`.

    Raises RuntimeFailure and its kin; nothing stays then. Later failures are the caller's to clean up after: `end`, and the
    cgroup.
    """
    if wish.spec.process and wish.spec.process.rlimits:
        import resource  # noqa: F401  init cannot import any more
    if wish.spec.hooks:
        import cratebox.runtime.hooks
    if wish.door >= 0:
        import cratebox.runtime.door  # noqa: F401  as above
    if wish.filter and program.listens(wish.filter) and not wish.listener:
        raise Unsupported("seccomp: SCMP_ACT_NOTIFY: nobody would answer")
    ours, theirs = fdpass.pair()
    try:
        pid, pidfd = _fork(wish, ours, theirs)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    try:
        created = Created(pid, pidfd, ours, _lead_on(wish, pid, ours), wish.listener)
    except BaseException:
        _end(pid, pidfd)
        ours.close()
        raise
    if wish.spec.hooks:
        created.hooks = lambda: _run_hooks(wish, pid)
    return created


def _run_hooks(wish: Wish, pid: int) -> None:
    from cratebox.runtime import hooks

    if wish.spec.hooks:
        state = {**(wish.hook_state or {}), "status": "creating", "pid": pid}
        hooks.run("prestart", wish.spec.hooks.prestart, state)
        hooks.run("createRuntime", wish.spec.hooks.create_runtime, state)


def _fork(wish: Wish, ours: _socket.socket, theirs: _socket.socket) -> tuple[int, int]:
    """Clone the container's first process, which becomes init; return its pid and a pidfd of it."""
    report = wish.report if wish.report >= 0 else theirs.fileno()
    assert wish.spec.process
    late_filter = program.late_filter(wish.spec.process, wish.filter)
    label = program.labelling(wish.spec.process)
    stub_fd, hook_stub, trees = stub.sealed(stub.build(report, *late_filter, label=label)), -1, {}
    given = {n: wish.trees[one.destination] for n, one in enumerate(wish.spec.mounts) if one.destination in wish.trees}
    binds = {n: wish.binds[one.destination] for n, one in enumerate(wish.spec.mounts) if one.destination in wish.binds}
    if binds:
        from cratebox.runtime import filling  # noqa: F401  init cannot import any more
    try:
        if wish.spec.hooks and wish.spec.hooks.start_container:
            hook_stub = stub.sealed(stub.build(-1, *late_filter, label=label))
        if mount_options.need_sources(wish.spec, os.geteuid() == 0):
            from cratebox.runtime import sources

            trees = sources.open_sources(wish.spec, binds)
        order = _order(wish, theirs, report, (stub_fd, hook_stub), trees)
        order = order.replace(given=given, root=wish.trees.get("/", -1), binds=binds)
        order = order.replace(program=order.program.replace(label=label)) if label else order
        if wish.spec.linux and wish.spec.linux.sysctl:
            from cratebox.runtime import sysctl

            order = order.replace(callers=sysctl.namespaces_of(wish.spec.linux.sysctl))

        def become() -> None:
            ours.close()
            init.main(order)

        return _clone(wish, become)
    finally:
        for fd in (
            stub_fd,
            hook_stub,
            label.procfs if label else -1,
            *trees.values(),
            *given.values(),
            wish.trees.get("/", -1),
        ):
            if fd >= 0:
                os.close(fd)


def _flags(wish: Wish) -> int:
    """Return the flags of the namespaces that are made by init's clone."""
    assert wish.spec.linux
    kinds = {one.type for one in wish.spec.linux.namespaces if not one.path}
    early = {"user"} if "time" in kinds else set()  # where the clocks are set by the root of both, see joining.py
    return sum(_FLAGS.get(kind, 0) for kind in kinds - early)


def _joins(wish: Wish) -> bool:
    """Say whether a joiner clones init: see joining.py."""
    assert wish.spec.linux
    return any(one.path or one.type == "time" for one in wish.spec.linux.namespaces)


def _order(wish: Wish, sock: _socket.socket, report: int, stubs: tuple[int, int], trees: dict[int, int]) -> init.RootOrder:
    stub_fd, hook_stub = stubs
    gate = wish.gate if wish.gate >= 0 else sock.fileno()
    return init.RootOrder(
        spec=wish.spec,
        program=_program(wish, sock, report, stub_fd, (gate, hook_stub) if hook_stub >= 0 else (gate,)),
        bundle=wish.bundle,
        overlay=wish.overlay,
        gate=gate,
        door=wish.door,
        join_cgroup=wish.cgroup.join if wish.cgroup else _nothing,
        cgroup=wish.cgroup.directories if wish.cgroup else {},
        cgroup_comes=wish.make_cgroup is not None,
        mount_cgroup=mount_cgroup,
        trees=trees,
        tell_namespaces=wish.tell_namespaces,
        no_pivot=wish.no_pivot,
        new_userns=bool(_flags(wish) & const.CLONE_NEWUSER),
        joined=_joins(wish),
        hook_state=wish.hook_state,
        hook_stub=hook_stub,
    )


def _program(wish: Wish, sock: _socket.socket, report: int, stub_fd: int, keep: tuple[int, ...]) -> program.ProgramOrder:
    assert wish.spec.process
    return program.ProgramOrder(
        process=wish.spec.process,
        stdio=wish.stdio,
        sock=sock,
        report=report,
        stub=stub_fd,
        filter=wish.filter,
        last_cap=caps.last(),
        keep=keep,
        also=wish.also,
        preserve_fds=wish.preserve_fds,
        new_keyring=wish.new_keyring,
        keep_groups=wish.keep_groups,
        tune=program.tuning(wish.spec.process, wish.spec.linux),
    )


def _lead_on(wish: Wish, pid: int, sock: _socket.socket) -> Cgroup | None:
    """Do what init waits for: write its ID maps, make its cgroup. Return the cgroup; where this fails, none is left."""
    group = wish.cgroup
    if group:
        group.close()  # the child has descriptors of its own
    if _flags(wish) & const.CLONE_NEWUSER:
        assert wish.spec.linux
        _map_ids(pid, wish.spec.linux)
    if wish.spec.linux and wish.spec.linux.net_devices:
        _move_devices(pid, wish.spec.linux)
    if _flags(wish) & const.CLONE_NEWUSER:
        fdpass.send(sock, sync.MAPPED)
    if wish.make_cgroup:
        group = wish.make_cgroup(pid)
        try:
            _hand_over(sock, group)
        except BaseException:
            group.remove()
            raise
    return group


def _move_devices(pid: int, linux: Linux) -> None:
    from cratebox.runtime import netdevices

    joined = next((one.path for one in linux.namespaces if one.type == "network"), "")
    netdevices.move(linux.net_devices or {}, joined or f"/proc/{pid}/ns/net")


def _hand_over(sock: _socket.socket, group: Cgroup) -> None:
    """Send init what it joins its cgroup by: in a user namespace it could not open that itself."""
    try:
        fdpass.send(sock, sync.pack_cgroup(group.directories), group.join_fds())
    except BrokenPipeError:
        pass  # it has died, and said why: that is heard next
    group.close()


def _nothing() -> None:
    """A container without a cgroup of its own joins none."""


def _clone(wish: Wish, become: Callable[[], None]) -> tuple[int, int]:
    """Clone the process that calls `become`, which does not return; return its pid and a pidfd of it."""
    flags = _flags(wish)
    into = wish.cgroup.fd_for_clone() if wish.cgroup else None
    into = -1 if into is None else into
    if _joins(wish):
        return _join(wish, flags, into, become)
    try:
        pid, pidfd = namespaces.clone(flags, into)
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise RuntimeFailure(f"cannot make the container's first process: {error.strerror}") from None
        if flags & const.CLONE_NEWUSER:
            raise Unsupported(f"cannot make a user namespace: {error.strerror}", userns.hint()) from None
        hint = "making namespaces takes root, or a user namespace: run crate as an ordinary user" if error.errno == 1 else None
        raise RuntimeFailure(f"cannot make the container's namespaces: {error.strerror}", hint) from None

    if pid == 0:
        become()
    return pid, pidfd


def _join(wish: Wish, flags: int, into: int, become: Callable[[], None]) -> tuple[int, int]:
    from cratebox.runtime import joining

    linux, who = wish.spec.linux, wish.spec.process
    assert linux
    assert who
    new = {one.type for one in linux.namespaces if not one.path}
    paths = joining.open_paths(linux)
    try:
        order = joining.Joining(
            paths=paths,
            flags=flags,
            process=who,
            linux=linux,
            new_user={"user", "time"} <= new,
            new_time="time" in new,
            hidden=os.geteuid() == 0,
        )
        return joining.clone(order, lambda pid: _map_ids(pid, linux), into, become)
    finally:
        joining.close(paths)


def _map_ids(pid: int, linux: Linux) -> None:
    uids = tuple(userns.IDMap(inside=m.container_id, outside=m.host_id, size=m.size) for m in linux.uid_mappings)
    gids = tuple(userns.IDMap(inside=m.container_id, outside=m.host_id, size=m.size) for m in linux.gid_mappings)
    try:
        userns.map_ids(pid, uids, gids)
    except OSError as error:
        raise RuntimeFailure(
            f"cannot write the ID maps of the user namespace: {error.strerror}",
            "check the user's ranges in /etc/subuid and /etc/subgid, and that newuidmap and newgidmap are set-user-ID root",
        ) from None


def namespaces_of(created: Created) -> tuple[int, int]:
    """Return descriptors of the user and the network namespace of a container whose wish has `tell_namespaces`;
    the caller's to close.

    Without privilege its process cannot be looked into until it runs its program. Raises what kept it from getting there.
    """
    message, fds = fdpass.receive(created.sock)
    if message == sync.NAMESPACES and len(fds) == 2:
        return fds[0], fds[1]
    raise _failure_of(message)


def await_ready(created: Created) -> None:
    """Listen to init until it waits at the gate. Raises what kept it from getting there."""
    while True:
        message, fds = fdpass.receive(created.sock)
        if message == sync.READY:
            return
        if message == sync.CONSOLE and len(fds) == 1:
            created.console = fds[0]
            continue
        if message == sync.LISTENER and len(fds) == 1 and created.listener:
            created.listener(created.pid, fds[0])
            os.close(fds[0])
            continue
        if message == sync.HOOKS and created.hooks:
            created.hooks_ran = True
            created.hooks()
            fdpass.send(created.sock, sync.HOOKED)
            continue
        raise _failure_of(message)


def _failure_of(message: bytes) -> CrateError:
    if message[:1] == sync.FAILED:
        return sync.unpack_error(message)
    return RuntimeFailure(
        "the container's first process died while it was being set up", "it was killed, or memory ran out: see dmesg"
    )


def _end(pid: int, pidfd: int) -> None:
    try:
        process.send_signal(pidfd, 9)
    except OSError:
        pass
    os.close(pidfd)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def keep(created: Created) -> None:
    """Leave a container that was created with a gate of its own to whoever starts it. Raises RuntimeFailure where it died."""
    try:
        fdpass.send(created.sock, sync.KEEP)
    except OSError as error:
        raise RuntimeFailure(f"the container's first process is gone: {error.strerror}") from None
    created.sock.close()
    os.close(created.pidfd)


def start(created: Created, command: str) -> None:
    """Let init through the gate; return when the container's program runs. Raises what kept it from running."""
    try:
        os.write(created.sock.fileno(), sync.GO)
        message = fdpass.receive(created.sock)[0]
    except OSError as error:
        raise RuntimeFailure(f"the container's first process is gone: {error.strerror}") from None
    error_ = sync.read_report(message, command)
    if error_:
        raise error_


def end(created: Created) -> None:
    """Kill a container that was created and is not to be started; reaps it and closes what is open."""
    created.sock.close()
    if created.console >= 0:
        os.close(created.console)
        created.console = -1
    _end(created.pid, created.pidfd)
