"""What the runtime is to create for a start of a container, made ready by whoever starts it, where an error is just an error.

Its spec, its root, its standard streams, the few files of its own; nothing of it runs yet.
"""

from __future__ import annotations

import os

from cratebox import record_file
from cratebox.engine import accounts, host, hostfiles, records, root_parts, specgen, streams, syscall_filter
from cratebox.engine.config import KEEP_GROUPS, ContainerConfig, Namespaces, is_on_networks
from cratebox.engine.idmaps import Identity
from cratebox.engine.streams import Streams
from cratebox.errors import CommandNotFound, InvalidValue, StorageError, Unsupported, full_hint
from cratebox.linux import caps
from cratebox.paths import Paths, private_directory
from cratebox.record import Record
from cratebox.runtime import validate
from cratebox.runtime.wish import Overlay, Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.images import Images
    from cratebox.engine.joined import Joined
    from cratebox.engine.volume_filling import Starting
    from cratebox.engine.volume_mounts import Located
    from cratebox.image.progress import Progress
    from cratebox.network.model import Reservation
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


class Prepared(Record):
    """What is ready to be handed to a supervisor. `network`: what it has of networks, None where it can have none; `ports`:
    descriptors that keep others from its ports.
    """

    wish: Wish
    streams: Streams
    network: Reservation | None = None
    ports: tuple[int, ...] = ()
    volumes: tuple[Starting, ...] = ()


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


def prepare(start: Start, there: Streams | None = None) -> Prepared:
    """Return what the runtime is to create, with new streams or those that there are.

    Raises InvalidValue, Unsupported, CommandNotFound, NotFound (a user, a secret), StorageError.
    """
    container, config = start.container, start.container.config
    where = records.directory(start.paths, container.id)
    if start.command:
        config = config.replace(command=start.command)
    _check_capabilities(start.identity, config)
    volumes = _volumes(start, config)
    if volumes:
        config = volumes.config
    prepare_mounts(config)
    joined = _joined(start, config)
    ports: tuple[int, ...] = ()
    wish: Wish | None = None
    try:
        network, ports = _reserved(start)
        wish = _wish(start, config, where, joined, network)
        there = there or streams.of(config, open_to_write=config.interactive and (start.interactive or not start.attach))
    except BaseException:
        ours = {*(joined.trees.values() if joined else ()), *(wish.trees.values() if wish else ())}
        streams.close(*(joined.fds if joined else ()), *ours, *ports)
        give_back(start)
        raise
    if volumes:
        wish = wish.replace(binds=volumes.binds)
    starting = volumes.starting if volumes else ()
    return Prepared(wish.replace(stdio=there.stdio), there, network, ports, starting)


def _reserved(start: Start) -> tuple[Reservation | None, tuple[int, ...]]:
    """Return the addresses and ports that the container will have; nobody else gets them from here on."""
    if not is_on_networks(start.container.config):
        return None, ()
    from cratebox.engine import connections

    found = connections.reserve(start.paths, start.identity.rootless, start.container)
    if start.progress is not None:
        connections.tell_obstacles(start.paths, start.identity.rootless, start.progress, found[0])
    return found


def give_back(start: Start) -> None:
    """Give back what was reserved for a start that did not come about."""
    if is_on_networks(start.container.config):
        from cratebox.engine import connections

        config = start.container.config
        connections.release(start.paths, start.identity.rootless, start.container.id, remember=not config.remove)


def _volumes(start: Start, config: ContainerConfig) -> Located | None:
    """Return where the volumes of the container are; None where it has none, as many."""
    if not any(one.kind == "volume" for one in config.mounts):
        return None
    from cratebox.engine import id_ranges, volume_mounts

    return volume_mounts.located(start.paths, id_ranges.of_container(start.identity, start.container), start.container, config)


def _make_state_directory(paths: Paths, identity: str) -> None:
    private_directory(paths.state)
    private_directory(paths.running)
    private_directory(f"{paths.running}/{identity}")


def _joined(start: Start, config: ContainerConfig) -> Joined | None:
    """Return what the container has of others, opened; None where it has nothing, as most."""
    if config.namespaces == Namespaces() and not config.network.startswith("container:"):
        return None
    from cratebox.engine.joined import open_others

    return open_others(start.paths, config, start.identity.rootless)


def _wish(start: Start, config: ContainerConfig, where: str, joined: Joined | None, network: Reservation | None) -> Wish:
    identity = _container_identity(start, config)
    facts = host.facts(identity, start.container, config, start.attach, joined)
    spec = _checked_spec(start, config, where, facts)
    if any(one.chown for one in config.mounts):
        from cratebox.engine import volume_mounts

        volume_mounts.give_to_user(identity, config, spec)
    try:
        if not facts.files_from:
            hostfiles.write(where, names_of(config, facts.hostname, start.identity.rootless, network))
        overlay, root = _overlay(start, where)
        if root:
            spec = spec.replace(root=spec.root.replace(path=root) if spec.root else None)
        filter_ = syscall_filter.filter_of(start.paths, config, specgen.capabilities_of(config), where, starts=True)
        _make_state_directory(start.paths, start.container.id)
        record_file.write(where + "/config.json", spec)  # last: it says that the container was started, see `status`
    except OSError as error:
        raise StorageError(f"cannot write to {where}: {error.strerror}", full_hint(error)) from None
    wish = Wish(
        spec=spec,
        bundle=where,
        trees=dict(joined.trees) if joined else {},
        held=joined.fds if joined else (),
        overlay=overlay,
        filter=filter_,
        also=spec.process.args[2] if config.init and spec.process else "",  # after the reaper and its --
        keep_groups=config.group_add == KEEP_GROUPS,
    )
    return _with_made_trees(start, config, identity, wish, root)


def _container_identity(start: Start, config: ContainerConfig) -> Identity:
    """Return the identity with the maps of the container's user namespace."""
    if not config.namespaces.user:
        return start.identity
    from cratebox.engine import id_ranges

    return id_ranges.of_container(start.identity, start.container)


def _checked_spec(start: Start, config: ContainerConfig, where: str, facts: specgen.Host) -> Spec:
    """Return the container's spec, which the runtime would take. Raises InvalidValue, CommandNotFound, Unsupported."""
    if not facts.confined and any(one.idmap == "container" for one in config.mounts):
        raise InvalidValue(
            "idmap: the container has no IDs of its own that others could be mapped to",
            "--userns auto, or idmap=uids=0-1000-10;gids=0-1000-10",
        )
    spec = _spec(start, config, where, facts)
    assert spec.process
    if not spec.process.args[0]:
        raise CommandNotFound('exec: "": executable file not found in $PATH')
    validate.validate(spec)
    return spec


def _with_made_trees(start: Start, config: ContainerConfig, identity: Identity, wish: Wish, root: str) -> Wish:
    """Return the wish with the mounts that are made for this start: a root whose IDs are mapped, files of secrets, images.

    `root`: the copy of the layers, empty where there is an overlay.
    """
    made: dict[str, int] = {}
    try:
        if identity.uids and not identity.rootless:
            from cratebox.engine import made_mounts

            made["/"] = made_mounts.mapped_root(wish.overlay, root, wish.bundle + "/rootfs", identity)
            wish = wish.replace(overlay=None)
        if config.secrets:  # after the spec was written: they are never on the disk
            from cratebox.engine import secret_mounts

            spec, secrets = secret_mounts.give(start.paths, identity, config.secrets, wish.spec)
            made |= secrets
            wish = wish.replace(spec=spec)
        if any(one.kind == "image" for one in config.mounts):
            from cratebox.engine import image_volumes

            made |= image_volumes.trees(start.images, start.identity, identity, config.mounts, wish.bundle)
    except BaseException:
        streams.close(*made.values())
        raise
    return wish.replace(trees={**wish.trees, **made})


def names_of(config: ContainerConfig, hostname: str, rootless: bool, network: Reservation | None) -> hostfiles.Names:
    """Return what the container's files of names are made of. Raises InvalidValue, Unsupported."""
    names = hostfiles.Names(
        hostname=hostname,
        domainname=config.domainname,
        network="bridge" if network else config.network,
        added=config.add_host,
        dns=config.dns,
        search=config.dns_search,
        options=config.dns_options,
    )
    if network or config.add_host:
        from cratebox.engine import host_names

        return host_names.connected(names, network, rootless)
    return names


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


def _spec(start: Start, config: ContainerConfig, where: str, facts: specgen.Host) -> Spec:
    defaults = start.container.defaults
    directories = (where + "/copy",) if os.path.isdir(where + "/copy") else (where + "/rw/upper", *reversed(start.layers))
    account = accounts.resolve(config.user if config.user is not None else defaults.user, directories)
    if config.group_add and config.group_add != KEEP_GROUPS:
        account = account.replace(groups=(*account.groups, *_added_groups(config, directories, facts)))
    return specgen.build(config, defaults, facts, account, where)


def _added_groups(config: ContainerConfig, directories: tuple[str, ...], facts: specgen.Host) -> tuple[int, ...]:
    """Return the groups of --group-add. Raises InvalidValue, Unsupported for one that the container's user namespace does not
    have.
    """
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
