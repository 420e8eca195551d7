"""Which driver a machine, a user and a wish make: cgroupfs of v1 or v2, systemd, or none.

v1 wherever the controllers are in v1 hierarchies, which takes root; v2 where there is only that. In a hybrid layout, what v1
lacks is looked for in v2.
"""

from __future__ import annotations

import os

from cratebox.cgroup import mounts
from cratebox.cgroup.base import Disabled, Driver
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.cgroup.mounts import Unified

DRIVERS = ("cgroupfs", "systemd", "disabled")


def driver(name: str, rootless: bool) -> Driver:
    """Return the driver `name`, or for "" the one of this machine; for a machine without cgroups see `Disabled.reason`.

    A `rootless` caller needs a cgroup of v2 that has been delegated to it, as systemd does for each user's own services.
    Raises InvalidValue for a name that is none, Unsupported where systemd is asked for and cannot be had.
    """
    if name == "disabled":
        return Disabled("--cgroup-manager disabled was given", "leave it out, or the limit", chosen=True)
    if name == "systemd":
        from cratebox.cgroup.systemd import Systemd

        return Systemd(rootless)
    if name not in {"", "cgroupfs"}:
        raise InvalidValue(f"{name!a} is no cgroup manager", ", ".join(DRIVERS) + " are")
    try:
        hierarchies, unified = mounts.find()
    except OSError as error:
        return Disabled(f"cannot read /proc/self: {error.strerror}")
    if rootless:
        return _delegated(unified)
    if unified and all(controllers.startswith("name=") for controllers, _ in hierarchies):
        hierarchies = ()  # they have no controllers: systemd's, beside v2
    if hierarchies:
        from cratebox.cgroup.v1 import V1

        writable = tuple(one for one in hierarchies if os.access(one[1], os.W_OK))
        if writable:
            return V1(writable, unified.mountpoint if unified else "")
    elif unified:
        if os.access(unified.mountpoint, os.W_OK):
            from cratebox.cgroup.v2 import V2

            return V2(unified.mountpoint)
        found = _delegated(unified)  # root of a user namespace
        if found.name != "disabled":
            return found
    if hierarchies or unified:
        return Disabled("the cgroup file systems are read-only here")
    return Disabled("no cgroup file system is mounted", "mount -t cgroup2 none /sys/fs/cgroup")


def _delegated(unified: Unified | None) -> Driver:
    if not unified:
        return Disabled("without root, limits take cgroup v2, which is not mounted here")
    from cratebox.cgroup.v2 import V2, delegated

    base = delegated(unified)
    if not base:
        return Disabled(
            "no cgroup has been delegated to this user", "run crate below systemd-run --user --scope, which makes one"
        )
    return V2(base, rootless=True)
