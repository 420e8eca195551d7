"""A start: everything is prepared here, in the client, where an error is just an error; then the supervisor is forked."""

from __future__ import annotations

import os

from cratebox.engine import accounts, attach, hostfiles, specgen, supervisor
from cratebox.engine import container as containers
from cratebox.engine.config import ContainerConfig
from cratebox.engine.idmaps import Identity
from cratebox.errors import RuntimeFailure, StorageError, Unsupported
from cratebox.linux import fdpass
from cratebox.paths import Paths, private_directory
from cratebox.record import Record
from cratebox.runtime import create as runtime
from cratebox.runtime import rootfs, seccomp, validate
from cratebox.runtime.spec import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from cratebox.cgroup.base import Cgroup
    from cratebox.runtime.spec import Spec

_REAPERS = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/bin/tini-static", "/usr/bin/tini", "/usr/bin/docker-init",
            "/usr/libexec/docker/docker-init")  # fmt: skip


class Start(Record):
    """One start of a container. `layers` are directories, lowest first; `lock` is the container's, held."""

    paths: Paths
    identity: Identity
    container: containers.Container
    layers: tuple[str, ...]
    lock: int
    remove: Callable[[], Callable[[], None]]
    command: tuple[str, ...] = ()
    attach: bool = False
    interactive: bool = False
    forward_signals: bool = True
    detach_keys: bytes | None = None


class Prepared(Record):
    """What is ready to be handed to a supervisor. `stdin_write` is the write end of the container's standard input, or -1."""

    wish: runtime.Wish
    stdin_write: int


def prepare(start: Start) -> Prepared:
    """Make ready all that a start needs and can fail on. Raises CrateError; nothing runs then."""
    _make_state_directory(start.paths, start.container.id)
    wish, stdin_write = _prepare(start)
    return Prepared(wish, stdin_write)


def launch(start: Start, prepared: Prepared) -> int | None:
    """Fork the supervisor, which starts the container. Attached: stay with it and return its exit code, None where the
    user detached; otherwise return None when its program runs. Raises what kept it from starting.

    The container's lock is the supervisor's from here on.
    """
    try:
        ours, theirs = fdpass.pair()
    except OSError as error:
        failed = _not_forked(start, error)
        os.close(start.lock)
        raise failed from None
    before = attach.block_signals()
    watch = supervisor.Watch(
        container=start.container,
        directory=containers.directory(start.paths, start.container.id),
        state_directory=f"{start.paths.running}/{start.container.id}",
        wish=prepared.wish,
        make_cgroup=_cgroup_maker(start),
        # Being born in a cgroup of v2 saves a lock over all processes; in v1 joining is cheap, making is not.
        cgroup_first=os.path.exists("/sys/fs/cgroup/cgroup.controllers"),
        remove=start.remove,
        lock=start.lock,
        attached=start.attach,
        keep_stdin=start.container.config.interactive and not start.attach,
    )
    _reap_earlier()
    try:
        _supervisors.append(supervisor.fork(watch, theirs, ours, prepared.stdin_write))
    except OSError as error:
        attach.restore_signals(before)
        ours.close()
        raise _not_forked(start, error) from None
    finally:
        theirs.close()
        os.close(start.lock)
        if prepared.wish.stdio[0] >= 0:
            os.close(prepared.wish.stdio[0])
    try:
        if start.attach:
            return attach.stay(_attachment(start, prepared, ours, before))
        attach.restore_signals(before)
        if prepared.stdin_write >= 0:
            os.close(prepared.stdin_write)
        attach.wait_started(ours)
        return None
    finally:
        ours.close()


def _not_forked(start: Start, error: OSError) -> RuntimeFailure:
    """Keep --rm where there is no supervisor to do it; return what to say. The container's lock is still held."""
    if start.container.config.remove:
        start.remove()()
    return RuntimeFailure(f"cannot fork: {error.strerror}", "the user's limit of processes, or memory, is used up")


_supervisors: list[int] = []  # of this process, not reaped yet: they have something to delete when all has been said


def _reap_earlier() -> None:
    """A command ends and leaves its supervisor to init; a program that uses the library goes on, and must not keep zombies."""
    for pid in _supervisors[:]:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _supervisors.remove(pid)
        except ChildProcessError:
            _supervisors.remove(pid)


def _attachment(start: Start, prepared: Prepared, sock: _socket.socket, mask: Any) -> attach.Attachment:
    return attach.Attachment(
        sock=sock,
        stdin=prepared.stdin_write,
        tty=start.container.config.tty,
        interactive=start.interactive,
        forward_signals=start.forward_signals and attach.is_main_thread(),
        mask=mask,
        detach_keys=attach.DETACH_KEYS if start.detach_keys is None else start.detach_keys,
    )


def _make_state_directory(paths: Paths, identity: str) -> None:
    private_directory(paths.state)
    try:
        os.makedirs(f"{paths.running}/{identity}", 0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {paths.running}/{identity}: {error.strerror}") from None


def _prepare(start: Start) -> tuple[runtime.Wish, int]:
    """Return what the runtime is to create, and the write end of the container's standard input (or -1)."""
    container, config = start.container, start.container.config
    where = containers.directory(start.paths, container.id)
    if start.command:
        config = config.replace(command=start.command)
    spec = _spec(start, config, where)
    validate.validate(spec)
    try:
        hostfiles.write(where, spec.hostname, config.network == "host")
        overlay, root = _overlay(start, where)
        if root:
            spec = spec.replace(root=spec.root.replace(path=root) if spec.root else None)
        filter_ = _filter(start, config, spec)
        containers.write_json(where + "/config.json", spec)  # last: it says that the container was started, see `status`
    except OSError as error:
        raise StorageError(f"cannot write to {where}: {error.strerror}", _full_hint(error)) from None
    stdin_read, stdin_write = _stdin(start, config)
    wish = runtime.Wish(spec=spec, bundle=where, stdio=(stdin_read, -1, -1), overlay=overlay, filter=filter_)
    return wish, stdin_write


def _full_hint(error: OSError) -> str | None:
    return "the disk is full: crate rm and crate rmi free space" if error.errno == 28 else None


def _spec(start: Start, config: ContainerConfig, where: str) -> Spec:
    defaults = start.container.defaults
    directories = (where + "/copy",) if os.path.isdir(where + "/copy") else (where + "/rw/upper", *reversed(start.layers))
    account = accounts.resolve(config.user if config.user is not None else defaults.user, directories)
    return specgen.build(config, defaults, _host(start, config), account, where)


def _host(start: Start, config: ContainerConfig) -> specgen.Host:
    short = start.container.id[:12]
    return specgen.Host(
        hostname=config.hostname or (os.uname().nodename[:64] if config.network == "host" else short),
        rootless=start.identity.rootless,
        uids=start.identity.uids,
        gids=start.identity.gids,
        cgroups=not start.identity.rootless,
        init=find_reaper() if config.init else "",
        devices=_all_devices() if config.privileged else (),
        console=_terminal_size() if config.tty and start.attach else None,
        files=_files(start),
    )


def _files(start: Start) -> tuple[str, ...]:
    """A directory of somebody else's cannot be given files that it lacks: without root its owner is nobody in the container."""
    if not (start.identity.rootless and start.container.rootfs):
        return hostfiles.NAMES
    return tuple(name for name in hostfiles.NAMES if os.path.lexists(f"{start.container.rootfs}/etc/{name}"))


def find_reaper() -> str:
    """Return the path of a small init for --init. Raises Unsupported where none is installed."""
    for path in _REAPERS:
        if os.access(path, os.X_OK):
            return path
    raise Unsupported("--init needs a small init program, and none is installed here", "as root: apt-get install catatonit")


def _terminal_size() -> tuple[int, int] | None:
    from cratebox.linux import tty

    try:
        return tty.size(0)
    except OSError:
        return None


def _all_devices() -> tuple[Device, ...]:
    """Return the machine's devices, for --privileged; without root those that the user may open."""
    import stat

    found = []
    for directory, names, files in os.walk("/dev"):
        names[:] = [name for name in names if f"{directory}/{name}" not in {"/dev/pts", "/dev/shm", "/dev/mqueue"}]  # noqa: S108
        for name in files:
            path = f"{directory}/{name}"
            info = os.lstat(path)
            kind = "c" if stat.S_ISCHR(info.st_mode) else "b" if stat.S_ISBLK(info.st_mode) else ""
            if kind and name != "console" and (os.geteuid() == 0 or os.access(path, os.R_OK)):
                number = info.st_rdev
                found.append(
                    Device(path, kind, os.major(number), os.minor(number), info.st_mode & 0o777, info.st_uid, info.st_gid)
                )
    return tuple(found)


def _overlay(start: Start, where: str) -> tuple[rootfs.Overlay | None, str]:
    """Return the overlay to mount, or the directory that is the root already (a copy of the layers)."""
    options: tuple[str, ...] = ("userxattr",) if start.identity.rootless else ("index=off",)
    if os.path.isdir(where + "/copy"):
        return None, where + "/copy"
    if start.container.rootfs:
        import cratebox.runtime.patchwork  # noqa: F401  init may need it, and cannot import any more

        return rootfs.Overlay(lower=start.layers, options=options), ""
    if start.container.config.remove:
        options = (*options, "volatile")  # what is removed anyway need not reach the disk
    return rootfs.Overlay(lower=start.layers, upper=where + "/rw/upper", work=where + "/rw/work", options=options), ""


def _filter(start: Start, config: ContainerConfig, spec: Spec) -> tuple[bytes, int] | None:
    if config.seccomp == "unconfined" or (config.privileged and config.seccomp == "default"):
        return None
    who = spec.process
    names = frozenset(who.capabilities.bounding if who and who.capabilities else ())
    private_directory(start.paths.root)
    if config.seccomp == "default":
        return seccomp.default_filter(start.paths.cache, names)
    return seccomp.cached_filter(start.paths.cache, seccomp.load_profile(config.seccomp, names))


def _stdin(start: Start, config: ContainerConfig) -> tuple[int, int]:
    if config.tty:
        return -1, -1
    if config.interactive and (start.interactive or not start.attach):
        return os.pipe()
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1


def _cgroup_maker(start: Start) -> Callable[[], Cgroup]:
    def make() -> Cgroup:
        from cratebox.cgroup import base

        driver = base.detect(start.identity.rootless)
        spec_resources = specgen.resources_of(start.container.config) if not start.identity.rootless else None
        return driver.create("crate-" + start.container.id, spec_resources)

    return make
