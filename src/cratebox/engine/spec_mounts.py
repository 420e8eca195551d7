"""The mounts of a container's spec, in the order in which they are made:
the kernel's file systems, files of /etc, what the user wants.

Pure: where there is none, or no right to one, the facts of the host say so.
"""

from __future__ import annotations

from cratebox.engine.config import shares
from cratebox.runtime.spec import IDMapping, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cratebox.engine.config import ContainerConfig
    from cratebox.engine.mounts import MountWish
    from cratebox.engine.specgen import Host

INIT_PLACE = "/dev/init"  # in the container's own /dev, as Docker's; no image can have anything there
SHM = "/dev/shm"  # noqa: S108  the container's
_SHM_SIZE = 64 << 20  # bytes
_SAFE = ("nosuid", "noexec", "nodev")
_OF_SECRET = ("bind", "rprivate", "ro", *_SAFE)  # the file is made by made_mounts.py
_OF_IMAGE = ("bind", "rprivate", "ro", "nosuid", "nodev")  # the tree is made by image_volumes.py


def mounts_of(config: ContainerConfig, host: Host, directory: str) -> tuple[Mount, ...]:
    """Return all mounts of a container whose files (hosts, ...) are in `directory`."""
    reaper = (Mount(INIT_PLACE, "bind", host.init, ("bind", "ro", "nosuid", "nodev")),) if host.init else ()
    secrets = [Mount(one.target, "bind", "secret", _OF_SECRET) for one in config.secrets if one.kind == "mount"]
    own = [*_file_mounts(config, host, directory), *host.added.mounts, *secrets]
    return (*_system_mounts(config, host), *reaper, *in_order(own, config.mounts))


def in_order(own: Iterable[Mount], wishes: Iterable[MountWish]) -> list[Mount]:
    """Return mounts of crate's and those that the user wants, each behind those that it lies in: /etc before /etc/hosts."""
    return sorted([*own, *map(_user_mount, wishes)], key=lambda one: one.destination.count("/"))


def _user_mount(one: MountWish) -> Mount:
    if one.kind == "tmpfs":
        return Mount(one.target, "tmpfs", "tmpfs", one.options + (("ro",) if one.read_only else ()))
    if one.kind == "image":
        return Mount(one.target, "bind", "image", _OF_IMAGE)
    words = one.options
    if not any(word in {"bind", "rbind"} for word in words):
        words = ("rbind", *words)
    if not any(word.lstrip("r") in {"private", "shared", "slave"} for word in words):
        words = (*words, "rprivate")
    if one.read_only:
        words = (*words, "rro")
    if not one.idmap:
        return Mount(one.target, "bind", one.source, words)
    users, groups = _mappings(one.idmap)
    return Mount(one.target, "bind", one.source, (*words, "idmap"), users, groups)


def _mappings(words: str) -> tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]:
    if words == "container":
        return (), ()
    from cratebox.engine.idmap_words import parse

    return parse(words)


def _system_mounts(config: ContainerConfig, host: Host) -> tuple[Mount, ...]:
    readonly = () if config.privileged else ("ro",)
    gid = ("gid=5",) if not host.gids or sum(one.size for one in host.gids) > 5 else ()
    own_network = config.network != "host"
    if host.confined and not own_network:
        # A new sysfs shows the network namespace, so the kernel lets only the owner of that mount one.
        sysfs = Mount("/sys", "bind", "/sys", ("rbind", "rnosuid", "rnoexec", "rnodev", "rro"))
    else:
        sysfs = Mount("/sys", "sysfs", "sysfs", (*_SAFE, *readonly))
    shown = (Mount("/sys/fs/cgroup", "cgroup", "cgroup", (*_SAFE, *readonly)),) if sysfs.type == "sysfs" else ()
    return (
        _processes(config, host),
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount("/dev/pts", "devpts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *gid)),
        sysfs,
        *shown,
        *_message_queues(config, host),
        *_shared_memory(config),
    )


def _processes(config: ContainerConfig, host: Host) -> Mount:
    """The kernel gives a new mount of what shows a namespace to its owner alone, so without root the machine's is bound."""
    if config.namespaces.pid == "host" and host.confined:
        return Mount("/proc", "bind", "/proc", ("rbind", "rprivate", "rnosuid", "rnoexec", "rnodev"))
    return Mount("/proc", "proc", "proc", _SAFE)


def _message_queues(config: ContainerConfig, host: Host) -> tuple[Mount, ...]:
    """As with /proc; where the machine has none mounted there is nothing to bind, and mq_open(3) does without."""
    if config.namespaces.ipc == "host" and host.confined:
        return ()
    return (Mount("/dev/mqueue", "mqueue", "mqueue", _SAFE),)


def _shared_memory(config: ContainerConfig) -> tuple[Mount, ...]:
    """Shared memory of POSIX, shm_overview(7), goes with the IPC namespace, though the kernel does not know that."""
    if config.namespaces.ipc == "none":
        return ()
    if shares(config.namespaces.ipc):  # another container's is copied by joined.py
        return (Mount(SHM, "bind", SHM, ("rbind", "rprivate", *_SAFE)),)
    return (Mount(SHM, "tmpfs", "shm", (*_SAFE, "mode=1777", f"size={config.shm_size or _SHM_SIZE}")),)


def _file_mounts(config: ContainerConfig, host: Host, directory: str) -> list[Mount]:
    taken = {one.target for one in config.mounts}
    return [
        Mount("/etc/" + name, "bind", f"{host.files_from or directory}/{name}", ("bind", "rprivate"))
        for name in host.files
        if "/etc/" + name not in taken
    ]
