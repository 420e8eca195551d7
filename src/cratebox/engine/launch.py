"""A start: everything is prepared here, in the client, where an error is just an error; then the supervisor is forked."""

from __future__ import annotations

import os

from cratebox.engine import (
    accounts,
    attach,
    events,
    host,
    hostfiles,
    logs,
    record_file,
    records,
    root_parts,
    specgen,
    streams,
    supervisor,
    syscall_filter,
)
from cratebox.engine.config import ContainerConfig, Namespaces
from cratebox.engine.dialogue import Watch
from cratebox.engine.idmaps import Identity
from cratebox.engine.streams import Streams
from cratebox.engine.vanishing import Removal, vanish
from cratebox.errors import CommandNotFound, Conflict, InvalidValue, OverlayRefused, RuntimeFailure, StorageError, Unsupported
from cratebox.linux import caps, fdpass, process
from cratebox.paths import Paths, private_directory
from cratebox.record import Record
from cratebox.runtime import validate
from cratebox.runtime.wish import Overlay, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from cratebox.engine.images import Images
    from cratebox.engine.joined import Joined
    from cratebox.image.progress import Progress
    from cratebox.runtime.spec import Spec


class Start(Record):
    """One start of a container. `layers` are directories, lowest first; `lock` is the container's, held."""

    paths: Paths
    identity: Identity
    images: Images
    container: records.Container
    lock: int
    layers: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    attach: bool = False
    interactive: bool = False
    forward_signals: bool = True
    detach_keys: bytes | None = None
    progress: Progress | None = None


def start(wanted: Start) -> int | None:
    """Start a container. Attached: stay with it and return its exit code, None where the user detached; otherwise return
    None when its program runs. Raises what kept it from starting.

    The lock is taken over, whatever happens. Where the kernel refuses an overlay it is tried again with a copy.
    """
    try:
        return _launch(*_prepared(wanted))
    except OverlayRefused as error:
        root_parts.remember_no_overlay(wanted.paths, error, wanted.progress)
    lock_again = records.try_lock(records.directory(wanted.paths, wanted.container.id))
    if lock_again is None:
        raise Conflict(f"{wanted.container.name} was started by somebody else meanwhile")
    return _launch(*_prepared(wanted.replace(lock=lock_again)))


def _prepared(start: Start) -> tuple[Start, Prepared]:
    """Make ready all that the start needs and can fail on; where it does, the lock is free again and --rm is kept."""
    container, ready = start.container, False
    try:
        prepare_mounts(container.config)
        start = start.replace(layers=start.images.layer_directories(container))
        if root_parts.needs_copy(start.paths, container):
            root_parts.copy_layers(start.images, records.directory(start.paths, container.id), start.layers, container)
        prepared = _prepare(start)
        ready = True
    finally:
        if not ready:
            if container.config.remove:
                vanish(_removal(start))()
            os.close(start.lock)
    return start, prepared


def _removal(start: Start) -> Removal:
    container = start.container
    return Removal(start.paths, start.identity, container.id, container.name, events.of_container(container))


def prepare_mounts(config: ContainerConfig) -> None:
    """A missing source of -v is made, as Docker does; one of --mount is an error."""
    for one in config.mounts:
        if one.kind != "bind" or os.path.lexists(one.source):
            continue
        if not one.make_source:
            raise InvalidValue(f"cannot mount {one.source} at {one.target}: there is no such file or directory here")
        try:
            os.makedirs(one.source, exist_ok=True)
        except OSError as error:
            raise InvalidValue(f"cannot make {one.source}, to be mounted at {one.target}: {error.strerror}") from None
    for one in config.mounts:
        if "shared" in one.options or "rshared" in one.options:
            from cratebox.engine.sharing import check_shared

            check_shared(one.source, one.target)


class Prepared(Record):
    """What is ready to be handed to a supervisor."""

    wish: Wish
    streams: Streams


def _launch(start: Start, prepared: Prepared) -> int | None:
    """Hand over to a supervisor, which starts the container and has its lock from here on; stay, or leave when it runs."""
    if start.attach:
        events.emit(start.paths, "container", "attach", start.container.id, events.of_container(start.container))
    there = prepared.streams
    before = attach.block_signals()
    try:
        ours = _fork_supervisor(_watch(start, prepared))
    except OSError as error:
        attach.restore_signals(before)
        raise _not_forked(start, error) from None
    finally:
        os.close(start.lock)
        wish = prepared.wish
        streams.close(*wish.stdio, *there.output, *there.holds, *wish.held, *wish.trees.values())
    try:
        if start.attach:
            return attach.stay(_attachment(start, prepared, ours, before))
        attach.restore_signals(before)
        streams.close(there.stdin)
        attach.wait_started(ours)
        return None
    finally:
        ours.close()


def _fork_supervisor(watch: Watch) -> _socket.socket:
    """Fork a supervisor; return the client's end of their dialogue. Raises OSError."""
    _reap_earlier()
    ours, theirs = fdpass.pair()
    try:
        _supervisors.append(supervisor.fork(watch, theirs, ours))
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours


_supervisors: list[int] = []  # of this process, not reaped yet: they have something to delete when all has been said


def _reap_earlier() -> None:
    """A command ends and leaves its supervisor to init; a program that uses the library goes on, and must not keep zombies."""
    for pid in _supervisors[:]:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _supervisors.remove(pid)
        except ChildProcessError:
            _supervisors.remove(pid)


def _watch(start: Start, prepared: Prepared) -> Watch:
    config = start.container.config
    return Watch(
        container=_removal(start),
        directory=records.directory(start.paths, start.container.id),
        state_directory=f"{start.paths.running}/{start.container.id}",
        wish=prepared.wish,
        remove=config.remove,
        lock=start.lock,
        stdin=-1 if start.attach else prepared.streams.stdin,
        output=prepared.streams.output,
        holds=prepared.streams.holds,
        attached=start.attach,
        log=logs.wish_of(start.container),
        accompanied=_is_accompanied(start.container),
        record=(0, 0) if config.remove else records.version(records.directory(start.paths, start.container.id)),
    )


def _is_accompanied(container: records.Container) -> bool:
    """Tell whether a supervisor has more to do for it than to keep its output and its exit code: then it loads parts.py."""
    config = container.config
    limited = config.limits is not None and bool(config.limits.memory)
    return config.restart != "no" or bool(config.timeout or config.health or container.defaults.healthcheck) or limited


def renewed(watch: Watch) -> Watch:
    """Return what the supervisor of a container is told for the next run of it, as if it were started anew.

    Raises what a start raises; the container's lock is still held.
    """
    from cratebox.engine.images import Images

    which = watch.container
    container = records.load(which.paths, which.id)
    images = Images(which.paths, which.owner)
    start = Start(which.paths, which.owner, images, container, watch.lock)
    prepare_mounts(container.config)
    prepared = _prepare(
        start.replace(layers=images.layer_directories(container)), streams.same(watch.stdin, watch.output, watch.holds)
    )
    return _watch(start, prepared)


def _not_forked(start: Start, error: OSError) -> RuntimeFailure:
    """Keep --rm where there is no supervisor to do it; return what to say. The container's lock is still held."""
    if start.container.config.remove:
        vanish(_removal(start))()
    return RuntimeFailure(f"cannot fork: {error.strerror}", "the user's limit of processes, or memory, is used up")


def _attachment(start: Start, prepared: Prepared, sock: _socket.socket, mask: Any) -> attach.Attachment:
    return attach.Attachment(
        sock=sock,
        stdin=prepared.streams.stdin,
        tty=start.container.config.tty,
        interactive=start.interactive,
        forward_signals=start.forward_signals and process.is_main_thread(),
        mask=mask,
        detach_keys=attach.DETACH_KEYS if start.detach_keys is None else start.detach_keys,
    )


def _make_state_directory(paths: Paths, identity: str) -> None:
    private_directory(paths.state)
    private_directory(paths.running)
    private_directory(f"{paths.running}/{identity}")


def _prepare(start: Start, there: Streams | None = None) -> Prepared:
    """Return what the runtime is to create, with new streams or those that there are."""
    container, config = start.container, start.container.config
    where = records.directory(start.paths, container.id)
    if start.command:
        config = config.replace(command=start.command)
    _check_capabilities(start.identity, config)
    joined = _joined(start, config)
    try:
        wish = _wish(start, config, where, joined)
    except BaseException:
        if joined:
            joined.close()
        raise
    there = there or streams.of(config, open_to_write=config.interactive and (start.interactive or not start.attach))
    return Prepared(wish.replace(stdio=there.stdio), there)


def _joined(start: Start, config: ContainerConfig) -> Joined | None:
    """Return what the container has of others, opened; None where it has nothing, as most."""
    if config.namespaces == Namespaces():
        return None
    from cratebox.engine.joined import open_others

    return open_others(start.paths, config, start.identity.rootless)


def _wish(start: Start, config: ContainerConfig, where: str, joined: Joined | None) -> Wish:
    container, identity = start.container, start.identity
    if config.namespaces.user:
        from cratebox.engine import id_ranges

        identity = id_ranges.of_container(identity, container)
    facts = host.facts(identity, container, config, start.attach, joined)
    spec = _spec(start, config, where, facts)
    assert spec.process
    if not spec.process.args[0]:
        raise CommandNotFound('exec: "": executable file not found in $PATH')
    validate.validate(spec)
    try:
        hostfiles.write(where, facts.hostname, config.network == "host")
        overlay, root = _overlay(start, where)
        if root:
            spec = spec.replace(root=spec.root.replace(path=root) if spec.root else None)
        also = spec.process.args[2] if config.init and spec.process else ""  # after the reaper and its --
        filter_ = syscall_filter.filter_of(start.paths, config, specgen.capabilities_of(config))
        _make_state_directory(start.paths, container.id)
        record_file.write(where + "/config.json", spec)  # last: it says that the container was started, see `status`
    except OSError as error:
        raise StorageError(f"cannot write to {where}: {error.strerror}", _full_hint(error)) from None
    trees = dict(joined.trees) if joined else {}
    if identity.uids and not identity.rootless:
        from cratebox.engine import made_mounts

        trees["/"] = made_mounts.mapped_root(overlay, root, where + "/rootfs", identity)
        overlay = None
    if config.secrets:  # after the spec was written: they are never on the disk
        from cratebox.engine import secret_mounts

        spec, secrets = secret_mounts.give(start.paths, identity, config.secrets, spec)
        trees |= secrets
    return Wish(
        spec=spec,
        bundle=where,
        trees=trees,
        held=joined.fds if joined else (),
        overlay=overlay,
        filter=filter_,
        directories=_volumes(container),
        also=also,
    )


def _volumes(container: records.Container) -> tuple[str, ...]:
    """Return the image's VOLUMEs, which its programs expect to be there; volumes of their own they are not yet."""
    taken = {one.target for one in container.config.mounts}
    return tuple(path for path in container.defaults.volumes if path[:1] == "/" and path not in taken and "\0" not in path)


def _check_capabilities(identity: Identity, config: ContainerConfig) -> None:
    """What was asked for by name must be there to give. Raises Unsupported."""
    wanted = set(config.cap_add) - {"ALL"}
    if not wanted or identity.rootless:
        return
    own = caps.get()[1]
    for name in sorted(wanted):
        if not caps.mask((name,)) & own:
            raise Unsupported(
                f"--cap-add {name}: crate does not have it itself", "root in a container of another engine has few"
            )


def _full_hint(error: OSError) -> str | None:
    return "the disk is full: crate rm and crate rmi free space" if error.errno == 28 else None


def _spec(start: Start, config: ContainerConfig, where: str, facts: specgen.Host) -> Spec:
    defaults = start.container.defaults
    directories = (where + "/copy",) if os.path.isdir(where + "/copy") else (where + "/rw/upper", *reversed(start.layers))
    account = accounts.resolve(config.user if config.user is not None else defaults.user, directories)
    if config.group_add:
        account = account.replace(groups=(*account.groups, *_added_groups(config, directories, facts)))
    return specgen.build(config, defaults, facts, account, where)


def _added_groups(config: ContainerConfig, directories: tuple[str, ...], facts: specgen.Host) -> tuple[int, ...]:
    """Return the groups of --group-add. Raises InvalidValue, Unsupported for one that the container's user namespace does not have."""
    found = accounts.groups(config.group_add, directories)
    if facts.gids and specgen.mapped(found, facts.gids) != found:
        raise Unsupported(
            f"--group-add {' '.join(config.group_add)}: the container does not have that many group IDs", "crate info tells why"
        )
    return found


def _overlay(start: Start, where: str) -> tuple[Overlay | None, str]:
    """Return the overlay to mount, or the directory that is the root already (a copy of the layers)."""
    overlay = root_parts.overlay_of(start.identity, start.container, where, start.layers)
    if overlay is None:
        return None, where + "/copy"
    if start.container.rootfs:
        import cratebox.runtime.patchwork  # noqa: F401  init may need it, and cannot import any more
    elif start.container.config.remove:
        overlay = overlay.replace(options=(*overlay.options, "volatile"))  # what is removed anyway need not reach the disk
    return overlay, ""
