"""What a spec must be before anything of the container exists. Pure: looks at the document alone.

Raises InvalidValue for what the specification forbids and Unsupported for what crate does not do: a property that is
accepted and ignored would be a lie about what the container is.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, Unsupported
from cratebox.linux import caps
from cratebox.runtime.spec import Linux, Process, Spec

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup")
_ID_MAX = 2**32 - 2  # (uid_t)-1 means "no change" to the kernel


def validate(spec: Spec) -> None:
    """Raise InvalidValue or Unsupported unless crate can run `spec` as it is."""
    version = spec.oci_version.split(".")
    if len(version) < 3 or version[0] != "1" or not version[1].isdigit():
        raise InvalidValue(f"spec: ociVersion {spec.oci_version!a} is not 1.x.y")
    if spec.root is None or not spec.root.path:
        raise InvalidValue("spec: root.path is missing")
    if spec.process is None:
        raise InvalidValue("spec: process is missing")
    if spec.linux is None:
        raise InvalidValue("spec: linux is missing")
    if spec.hooks and any(spec.hooks.values()):
        raise Unsupported("spec: hooks are not done by this version of crate")
    _check_process(spec.process)
    _check_linux(spec.linux)
    _check_mounts(spec)
    _check_together(spec, spec.linux)


def _check_process(process: Process) -> None:
    if not process.args or not process.args[0]:
        raise InvalidValue("spec: process.args names no command")
    _check_words((*process.args, *process.env, process.cwd))
    if not process.cwd.startswith("/"):
        raise InvalidValue(f"spec: process.cwd {process.cwd!a} is not absolute")
    for number in (process.user.uid, process.user.gid, *process.user.additional_gids):
        if not 0 <= number <= _ID_MAX:
            raise InvalidValue(f"spec: process.user has the ID {number}: it must be from 0 to {_ID_MAX}")
    for entry in process.env:
        if "=" not in entry[1:]:
            raise InvalidValue(f"spec: process.env has {entry!a}, which is not NAME=VALUE")
    _refuse("process", process, ("apparmor_profile", "selinux_label", "scheduler", "io_priority", "exec_cpu_affinity"))
    if process.capabilities:
        for names in process.capabilities.as_dict().values():
            for name in names:
                if name not in caps.NAMES:
                    raise InvalidValue(f"spec: process.capabilities has {name!a}, which is no capability")
    seen = set()
    for limit in process.rlimits:
        if limit.type in seen:
            raise InvalidValue(f"spec: process.rlimits has {limit.type} twice")
        seen.add(limit.type)
        if limit.soft > limit.hard:
            raise InvalidValue(f"spec: process.rlimits {limit.type}: soft {limit.soft} is over hard {limit.hard}")


def _check_words(words: tuple[str, ...]) -> None:
    for word in words:
        try:
            os.fsencode(word)
        except UnicodeEncodeError:
            raise InvalidValue(f"spec: process has {word!a}, which no file system or environment can hold") from None
        if "\0" in word:
            raise InvalidValue(f"spec: process has {word!a}, with a NUL in it")


def _refuse(where: str, record: Process | Linux, fields: tuple[str, ...]) -> None:
    for name in fields:
        if getattr(record, name):
            raise Unsupported(f"spec: {where}.{name} is not done by this version of crate")


def _check_linux(linux: Linux) -> None:
    _refuse("linux", linux, ("time_offsets", "net_devices", "mount_label", "personality", "intel_rdt", "memory_policy"))
    seen = set()
    for namespace in linux.namespaces:
        if namespace.type not in NAMESPACES:
            raise (Unsupported if namespace.type == "time" else InvalidValue)(f"spec: linux.namespaces: {namespace.type!a}")
        if namespace.type in seen:
            raise InvalidValue(f"spec: linux.namespaces has {namespace.type} twice")
        if namespace.path:
            raise Unsupported(f"spec: joining the {namespace.type} namespace {namespace.path!a} is not done by this version")
        seen.add(namespace.type)
    for needed in ("mount", "pid"):
        if needed not in seen:
            raise Unsupported(f"spec: a container without a {needed} namespace of its own is not done by this version of crate")
    if "user" in seen and not (linux.uid_mappings and linux.gid_mappings):
        raise InvalidValue("spec: a new user namespace needs linux.uidMappings and linux.gidMappings")
    for mapping in (*linux.uid_mappings, *linux.gid_mappings):
        if min(mapping.container_id, mapping.host_id) < 0 or mapping.size < 1 or mapping.container_id + mapping.size > 2**32:
            raise InvalidValue(f"spec: linux has the ID mapping {mapping.container_id} {mapping.host_id} {mapping.size}")


def _check_mounts(spec: Spec) -> None:
    for number, mount in enumerate(spec.mounts):
        if not mount.destination.startswith("/"):
            raise InvalidValue(f"spec: mounts[{number}].destination {mount.destination!a} is not absolute")
        if mount.uid_mappings or mount.gid_mappings:
            raise Unsupported(f"spec: mounts[{number}]: idmapped mounts are not done by this version of crate")


def _check_together(spec: Spec, linux: Linux) -> None:
    kinds = {namespace.type for namespace in linux.namespaces}
    if (spec.hostname or spec.domainname) and "uts" not in kinds:
        raise InvalidValue("spec: hostname or domainname without a uts namespace of the container's own")
    if "cgroup" not in kinds and any(one.type in {"cgroup", "cgroup2"} for one in spec.mounts):
        raise Unsupported(
            "spec: a mount of type cgroup without a cgroup namespace is not done by this version: it would show the host's"
        )
    for name in linux.sysctl or {}:
        space = (
            "network"
            if name.startswith("net.")
            else "ipc"
            if name.startswith(("fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm"))
            else None
        )
        if space is None and name not in {"kernel.domainname", "kernel.hostname"}:
            raise InvalidValue(f"spec: linux.sysctl {name!a} belongs to no namespace, it would change the host")
        if space and space not in kinds:
            raise InvalidValue(f"spec: linux.sysctl {name!a} without a {space} namespace would change the host")
