"""Who a container's cgroup belongs to (config-linux.md, Cgroup ownership):
a container may run its own on v2, where it can see it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import Spec


def owner(spec: Spec) -> int | None:
    """Return the host's ID of the user who is to own the container's cgroup, or None for whoever makes it.

    That is the process's own user, where the container has a new cgroup namespace and a cgroup mount that is not read-only.
    """
    linux, process = spec.linux, spec.process
    if not linux or not process or not any(one.type == "cgroup" and not one.path for one in linux.namespaces):
        return None
    at = [one for one in spec.mounts if one.destination.rstrip("/") == "/sys/fs/cgroup"]
    if not at or at[-1].type not in {"cgroup", "cgroup2"} or {"ro", "rro"} & set(at[-1].options):
        return None
    if not any(one.type == "user" for one in linux.namespaces):
        return process.user.uid or None
    for one in linux.uid_mappings:
        if one.container_id <= process.user.uid < one.container_id + one.size:
            return one.host_id + process.user.uid - one.container_id
    return None
