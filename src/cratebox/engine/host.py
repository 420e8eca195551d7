"""The facts about this machine and this user that a container's spec depends on."""

from __future__ import annotations

import os
import stat

from cratebox.engine import hostfiles, specgen
from cratebox.engine.config import ContainerConfig, Limits
from cratebox.engine.idmaps import Identity
from cratebox.engine.records import Container
from cratebox.errors import Unsupported
from cratebox.runtime.spec import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.joined import Joined

_REAPERS = ("/usr/libexec/podman/catatonit", "/usr/bin/catatonit", "/usr/bin/tini-static", "/usr/bin/tini", "/usr/bin/docker-init",
            "/usr/libexec/docker/docker-init")  # fmt: skip
_OWN = ("/dev/pts", "/dev/shm", "/dev/mqueue")  # noqa: S108  file systems that a container has for itself


_NOTHING = specgen.Additions()


def facts(
    identity: Identity, container: Container, config: ContainerConfig, attached: bool, joined: Joined | None = None
) -> specgen.Host:
    """Return the facts for a start of `container` as `config` wishes. Raises Unsupported where what it takes is not there."""
    of_host = config.network == "host" or config.namespaces.uts == "host"
    name = (joined.hostname if joined else "") or (os.uname().nodename[:64] if of_host else container.id[:12])
    found = specgen.Host(
        hostname=config.hostname or name,
        rootless=identity.rootless,
        uids=identity.uids,
        gids=identity.gids,
        cgroup=specgen.cgroup_path(container.id, config.cgroup_parent),
        device_rules=not identity.rootless,
        init=find_reaper(config.init_path) if config.init else "",
        added=_added(config, identity.rootless),
        devices=_all_devices() if config.privileged else (),
        console=_terminal_size() if config.tty and attached else None,
        joined=joined.namespaces if joined else (),
        files_from=joined.files if joined else "",
        files=_files(identity, container),
        thermal=_thermal(),
    )
    return _with_limits(found, config.limits) if config.limits else found


def _added(config: ContainerConfig, rootless: bool) -> specgen.Additions:
    if not (config.devices or config.device_rules or config.cdi_devices or config.timezone):
        return _NOTHING
    from cratebox.engine import host_devices

    return host_devices.additions(config, rootless)


def _with_limits(found: specgen.Host, limits: Limits) -> specgen.Host:
    """Raises Unsupported for a limit that this machine, or this user, does not have."""
    from cratebox.engine import capacity

    here = capacity.capacity(found.rootless)
    capacity.check(limits, here)
    return found.replace(disks=capacity.disks(limits), counts_swap=here.counts_swap)


def _thermal(processors: str = "/sys/devices/system/cpu") -> tuple[str, ...]:
    """Return thermal_throttle of each processor, where processors have one (x86-64 of one maker)."""
    if not os.path.exists(processors + "/cpu0/thermal_throttle"):
        return ()
    names = sorted(name for name in os.listdir(processors) if name[:3] == "cpu" and name[3:].isdigit())
    return tuple(f"{processors}/{name}/thermal_throttle" for name in names)


def _files(identity: Identity, container: Container) -> tuple[str, ...]:
    """A directory of somebody else's cannot be given files that it lacks: without root its owner is nobody in the container."""
    if not (identity.rootless and container.rootfs):
        return hostfiles.NAMES
    return tuple(name for name in hostfiles.NAMES if os.path.lexists(f"{container.rootfs}/etc/{name}"))


def find_reaper(wanted: str = "") -> str:
    """Return the path of a small init for --init: `wanted`, or the first that is installed.
    Raises Unsupported where there is none.
    """
    if wanted and not os.access(wanted, os.X_OK):
        raise Unsupported(f"--init-path {wanted} is no program that can be executed")
    if wanted:
        return wanted
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
    found = []
    for directory, names, files in os.walk("/dev"):
        names[:] = [name for name in names if f"{directory}/{name}" not in _OWN]
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
