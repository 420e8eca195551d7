"""Making a container: its directory, its name and its record are there whole, or not at all."""

from __future__ import annotations

import os
import time

from cratebox import record_file
from cratebox.engine import events, name_links, records
from cratebox.engine.config import KEEP_GROUPS, ContainerConfig, Limits, Namespaces, check_hostname, check_name, is_on_networks
from cratebox.engine.records import Container
from cratebox.engine.specgen import command_of
from cratebox.engine.vanishing import delete_tree
from cratebox.errors import Conflict, InvalidValue, StorageError, Unsupported, full_hint
from cratebox.paths import Paths, private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.idmaps import Identity
    from cratebox.engine.images import Images
    from cratebox.engine.provision import Provided
    from cratebox.image.progress import Progress


def make(
    paths: Paths,
    images: Images,
    config: ContainerConfig,
    pull: str,
    progress: Progress | None,
    cidfile: str | None,
    replace: bool = False,
) -> tuple[Container, int]:
    """Make a container, not running; return it and the descriptor of its lock, which is held.

    Its ID is written to the new file `cidfile`; with `replace` the one that has its name is removed first. Raises NotFound,
    Conflict, InvalidValue, Unsupported, StorageError and what a pull raises; nothing is left then.
    """
    private_directory(paths.root)
    private_directory(paths.containers)
    config = _whole(paths, images, config, progress)
    images.tell_notice(progress)
    # Made before the container: where it cannot be, no container is left behind that nobody knows the ID of.
    ticket = _claim_file(cidfile) if cidfile else -1
    try:
        with images.using():
            image = images.provide(config.image, config.platform, pull, progress)
            if any(one.kind == "image" for one in config.mounts):
                from cratebox.engine import image_volumes

                config = image_volumes.resolved(images, config)
            container = _container(config, image)
            if replace:
                _remove_named(paths, images, container.name)
            put = _put_with_ids if config.namespaces.user.startswith("auto") else _put
            if image.defaults.volumes or any(one.kind == "volume" for one in config.mounts):
                from cratebox.engine import volume_mounts
                from cratebox.engine.volumes import Volumes

                volumes = Volumes(paths, images.identity)
                container = volume_mounts.named(volumes, container)
                return volume_mounts.make_with(volumes, container, lambda whole: put(paths, images, whole, ticket))
            return put(paths, images, container, ticket)
    except BaseException:
        if cidfile:
            os.unlink(cidfile)
        raise
    finally:
        if ticket >= 0:
            os.close(ticket)


def _whole(paths: Paths, images: Images, config: ContainerConfig, progress: Progress | None) -> ContainerConfig:
    """Return the wish, checked, with what is decided before its image is there.

    Raises NotFound, Conflict, InvalidValue, Unsupported, StorageError.
    """
    config = _networked(paths, images.identity.rootless, _checked(config, images.identity.rootless))
    if config.network == "host" and (config.ports or config.publish_all) and progress is not None:
        progress.message("WARNING: Published ports are discarded when using host network mode")
    if config.namespaces != Namespaces() or config.sysctl or config.network.startswith("container:"):
        config = _checked_namespaces(paths, config, images.identity)
    if config.secrets:
        from cratebox.engine import secrets

        config = secrets.resolved(paths, config)
    if config.volumes_from:
        from cratebox.engine import volumes_from

        config = volumes_from.resolved(paths, config)
    if config.limits:
        _check_limits(config.limits, images.identity.rootless)
    return config


def _remove_named(paths: Paths, images: Images, name: str) -> None:
    """Remove the container of that name, running or not: when all else that could keep the new one from being made is done."""
    if not name:
        raise InvalidValue("nothing can be replaced without a name", "--replace takes --name")
    from cratebox.engine import ending

    old = name_links.holder_of(paths, name)
    if old and os.path.isdir(records.directory(paths, old)):
        ending.remove(paths, images, old, force=True)


def _check_kept_groups(config: ContainerConfig, rootless: bool) -> None:
    """For root a container's groups are the machine's already: to keep all of root's would give away more than is asked for."""
    if config.group_add != KEEP_GROUPS:
        raise InvalidValue("--group-add keep-groups stands alone: no group can be added to those that are kept")
    if not rootless:
        raise Unsupported("--group-add keep-groups is for users: root's containers can be in any group", "--group-add GID")


def _checked(config: ContainerConfig, rootless: bool) -> ContainerConfig:
    """The command line has checked this; a program's words come here first. Raises InvalidValue."""
    if config.name is not None:
        check_name(config.name)
    if config.hostname is not None:
        check_hostname(config.hostname)
    if config.working_dir is not None and not config.working_dir.startswith("/"):
        raise InvalidValue(f"the working directory {config.working_dir!a} is not absolute", "-w takes a path of the container")
    if config.log_options or config.log_driver != "json-file":
        from cratebox.engine import log_options

        log_options.check_driver(config.log_driver)
        log_options.parse_options(config.log_driver, [f"{name}={value}" for name, value in config.log_options.items()])
    if KEEP_GROUPS[0] in config.group_add:
        _check_kept_groups(config, rootless)
    if config.timezone:
        from cratebox.engine import host_devices

        host_devices.check_zone(config.timezone)
    return config


def _networked(paths: Paths, rootless: bool, config: ContainerConfig) -> ContainerConfig:
    """Return the config with the networks that it is on, each by its name. Raises InvalidValue, NotFound, Unsupported."""
    if not config.network:
        from cratebox.engine import network_settings

        config = config.replace(network=network_settings.default(paths))
    if config.network in {"host", "none"} and not (config.networks or config.ports or config.publish_all):
        return config
    from cratebox.engine import network_words

    if is_on_networks(config):
        from cratebox.engine import connections

        config = connections.named(paths, rootless, config)
    network_words.check(config)
    return config


def _checked_namespaces(paths: Paths, config: ContainerConfig, identity: Identity) -> ContainerConfig:
    """Return the config with the IDs of other containers in place of their names.
    Raises InvalidValue, NotFound, Unsupported.
    """
    from cratebox.engine import id_ranges, joined, namespace_words

    namespace_words.check(config)
    return joined.resolved(paths, id_ranges.checked(config, identity))


def _check_limits(limits: Limits, rootless: bool) -> None:
    """What this machine cannot do is said now, and not first when the container starts. Raises InvalidValue, Unsupported."""
    from cratebox.engine import capacity
    from cratebox.engine.limits import check

    check(limits)
    capacity.check(limits, capacity.capacity(rootless))


def _claim_file(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise Conflict(
            f"the file for the container's ID is there already: {path}", f"rm {path}, or choose another --cidfile"
        ) from None
    except OSError as error:
        raise StorageError(f"cannot write the container's ID to {path}: {error.strerror}") from None


def _container(config: ContainerConfig, image: Provided) -> Container:
    container = Container(
        id=records.new_id(),
        name=config.name or "",
        created=time.time(),
        image=config.image,
        image_id=image.id,
        config=config,
        defaults=image.defaults,
        layers=image.layers,
        rootfs=image.rootfs,
    )
    command_of(config, image.defaults)
    if config.health or image.defaults.healthcheck:
        from cratebox.engine import healthcheck

        healthcheck.check(container)
    return container


def _put_with_ids(paths: Paths, images: Images, container: Container, ticket: int) -> tuple[Container, int]:
    from cratebox.engine import id_ranges

    first, count, held = id_ranges.allocate(paths, container.config)
    try:
        return _put(paths, images, container.replace(first_id=first, ids=count), ticket)
    finally:
        os.close(held)


def _put(paths: Paths, images: Images, container: Container, ticket: int) -> tuple[Container, int]:
    """Write the container's directory beside its place, take the name, then rename: it is there whole or not at all."""
    new, final = f"{paths.containers}/.new-{container.id}", records.directory(paths, container.id)
    lock = -1
    try:
        lock = _begin(new)
        container = _named(paths, container)
        record_file.write(new + "/container.json", container, durable=not container.config.remove)
        if ticket >= 0:
            os.write(ticket, container.id.encode())
        os.rename(new, final)
    except BaseException as error:
        if container.name and name_links.holder_of(paths, container.name) == container.id:
            name_links.release(paths, container.name, container.id)
        delete_tree(images.identity, new)
        if lock >= 0:
            os.close(lock)
        if isinstance(error, OSError):
            raise StorageError(f"cannot make a container in {paths.containers}: {error.strerror}", full_hint(error)) from None
        raise
    events.emit(paths, "container", "create", container.id, events.of_container(container))
    return container, lock


def _begin(new: str) -> int:
    """Make the directory `new` of a container and return its lock."""
    os.mkdir(new, 0o700)
    lock = records.try_lock(new)
    assert lock is not None
    for name in ("/rootfs", "/rw", "/rw/upper", "/rw/work"):
        os.mkdir(new + name, 0o755 if name != "/rw" else 0o700)
    os.chmod(new + "/rw/upper", 0o755)  # noqa: S103  whatever the umask: it is / of the container
    return lock


def _named(paths: Paths, container: Container) -> Container:
    if container.name:
        name_links.claim(paths, container.name, container.id)
        return container
    from cratebox.engine.names import random_name

    for attempt in range(50):
        name = random_name() + (os.urandom(2).hex() if attempt > 5 else "")
        try:
            name_links.claim(paths, name, container.id)
        except Conflict:
            continue
        return container.replace(name=name)
    raise Conflict("no free name was found for the container", "give it one: --name")
