"""What a spec must be before anything of the container exists. Pure: looks at the document alone.

Raises InvalidValue for what the specification forbids and Unsupported for what crate does not do: a property that is
accepted and ignored would be a lie about what the container is.
"""

from __future__ import annotations

import os

from cratebox.errors import CrateError, InvalidValue, Unsupported
from cratebox.linux import caps
from cratebox.runtime import mount_options
from cratebox.runtime.security import RLIMITS
from cratebox.runtime.spec import Device, IDMapping, Linux, Mount, Process, Rlimit, Spec

DEVICE_TYPES = ("c", "b", "u", "p")
NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup")
_ID_MAX = 2**32 - 2  # (uid_t)-1 means "no change" to the kernel
_MAJOR_MAX, _MINOR_MAX = 0xFFF, 0xFFFFF  # dev_t of the kernel: 12 and 20 bits
_NAME_MAX = 64  # bytes of a host name, uts(7)


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
    if spec.hooks and any(spec.hooks.as_dict().values()):
        raise Unsupported("spec: hooks are not done by this version of crate")
    _check_text("root.path", spec.root.path)
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        _check_text(name, value)
        if len(os.fsencode(value)) > _NAME_MAX:
            raise InvalidValue(f"spec: {name} {value!a} has more than {_NAME_MAX} bytes")
    _check_process(spec.process)
    _check_linux(spec.linux)
    for number, mount in enumerate(spec.mounts):
        _check_mount(f"mounts[{number}]", mount)
    _check_together(spec, spec.linux)


def _check_process(process: Process) -> None:
    if not process.args or not process.args[0]:
        raise InvalidValue("spec: process.args names no command")
    for word in (*process.args, *process.env, process.cwd):
        _check_text("process", word)
    if not process.cwd.startswith("/"):
        raise InvalidValue(f"spec: process.cwd {process.cwd!a} is not absolute")
    for number in (process.user.uid, process.user.gid, *process.user.additional_gids):
        _check_range("process.user has the ID", number, 0, _ID_MAX)
    _check_range("process.user.umask", process.user.umask, 0, 0o777)
    _check_range("process.oomScoreAdj", process.oom_score_adj, -1000, 1000)
    if process.console_size:
        for side, number in process.console_size.as_dict().items():
            _check_range(f"process.consoleSize.{side}", number, 0, 0xFFFF)
    for entry in process.env:
        if "=" not in entry[1:]:
            raise InvalidValue(f"spec: process.env has {entry!a}, which is not NAME=VALUE")
    _refuse("process", process, ("apparmor_profile", "selinux_label", "scheduler", "io_priority", "exec_cpu_affinity"))
    if process.capabilities:
        for names in process.capabilities.as_dict().values():
            for name in names:
                if name not in caps.NAMES:
                    raise InvalidValue(f"spec: process.capabilities has {name!a}, which is no capability")
    _check_limits(process.rlimits)


def _check_limits(limits: tuple[Rlimit, ...]) -> None:
    seen = set()
    for limit in limits:
        if limit.type not in RLIMITS:
            raise InvalidValue(f"spec: process.rlimits has {limit.type!a}, which is no resource limit")
        if limit.type in seen:
            raise InvalidValue(f"spec: process.rlimits has {limit.type} twice")
        seen.add(limit.type)
        for name, number in (("soft", limit.soft), ("hard", limit.hard)):
            if not 0 <= number < 2**63 and number != 2**64 - 1:
                raise InvalidValue(f"spec: process.rlimits {limit.type}: {name} {number} is no limit (2**64-1: none)")
        if limit.soft > limit.hard:
            raise InvalidValue(f"spec: process.rlimits {limit.type}: soft {limit.soft} is over hard {limit.hard}")


def _check_text(where: str, word: str) -> None:
    """A JSON string may be one that no system call takes: half of a surrogate pair, or with a NUL in it."""
    try:
        os.fsencode(word)
    except UnicodeEncodeError:
        raise InvalidValue(f"spec: {where} has {word!a}, which no file system or environment can hold") from None
    if "\0" in word:
        raise InvalidValue(f"spec: {where} has {word!a}, with a NUL in it")


def _check_range(what: str, number: int | None, least: int, most: int) -> None:
    if number is not None and not least <= number <= most:
        raise InvalidValue(f"spec: {what} {number}: it must be from {least} to {most}")


def _check_absolute(where: str, path: str) -> None:
    _check_text(where, path)
    if not path.startswith("/"):
        raise InvalidValue(f"spec: {where} {path!a} is not absolute")


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
    _check_mappings((*linux.uid_mappings, *linux.gid_mappings))
    for number, device in enumerate(linux.devices):
        _check_device(f"linux.devices[{number}]", device)
    for field, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for number, path in enumerate(paths):
            _check_absolute(f"linux.{field}[{number}]", path)
    if linux.rootfs_propagation and linux.rootfs_propagation not in mount_options.PROPAGATION:
        raise InvalidValue(
            f"spec: linux.rootfsPropagation {linux.rootfs_propagation!a} is none", "shared, slave, private and unbindable are"
        )
    for name, value in (linux.sysctl or {}).items():
        _check_text("linux.sysctl", name + value)
    _check_elsewhere(linux)


def _check_mappings(mappings: tuple[IDMapping, ...]) -> None:
    for one in mappings:
        if min(one.container_id, one.host_id) < 0 or one.size < 1 or max(one.container_id, one.host_id) + one.size > 2**32:
            raise InvalidValue(f"spec: linux has the ID mapping {one.container_id} {one.host_id} {one.size}")


def _check_device(where: str, device: Device) -> None:
    _check_absolute(f"{where}.path", device.path)
    if os.path.basename(device.path) in {"", ".", ".."}:
        raise InvalidValue(f"spec: {where}.path {device.path!a} is no path of a file")
    if device.type not in DEVICE_TYPES:
        raise InvalidValue(f"spec: {where}.type {device.type!a} is none of {', '.join(DEVICE_TYPES)}")
    _check_range(f"{where}.major", device.major, 0, _MAJOR_MAX)
    _check_range(f"{where}.minor", device.minor, 0, _MINOR_MAX)
    _check_range(f"{where}.fileMode", device.file_mode, 0, 2**32 - 1)
    _check_range(f"{where}.uid", device.uid, 0, _ID_MAX)
    _check_range(f"{where}.gid", device.gid, 0, _ID_MAX)


def _check_elsewhere(linux: Linux) -> None:
    """Ask those who will work with them about the properties that have a form of their own."""
    try:
        if linux.cgroups_path:
            _check_text("linux.cgroupsPath", linux.cgroups_path)
            from cratebox.cgroup.base import checked_path

            checked_path(linux.cgroups_path)
        if linux.resources:
            from cratebox.cgroup.resources import check

            check(linux.resources)
        if linux.seccomp:
            from cratebox.runtime import seccomp_profile

            seccomp_profile.check(linux.seccomp)
    except CrateError as error:
        raise type(error)(f"spec: linux: {error.message}", error.hint) from None


def _check_mount(where: str, mount: Mount) -> None:
    _check_absolute(f"{where}.destination", mount.destination)
    for word in (mount.type, mount.source, *mount.options):
        _check_text(where, word)
    if not mount.type and mount_options.is_new(mount):
        raise InvalidValue(f"spec: {where}.type is missing")
    if not mount.source and not mount_options.is_new(mount):
        raise InvalidValue(f"spec: {where}.source is missing: there is nothing to bind")
    if mount.uid_mappings or mount.gid_mappings:
        raise Unsupported(f"spec: {where}: idmapped mounts are not done by this version of crate")
    mount_options.check(mount, f"spec: {where}")


def _check_together(spec: Spec, linux: Linux) -> None:
    kinds = {namespace.type for namespace in linux.namespaces}
    if (spec.hostname or spec.domainname) and "uts" not in kinds:
        raise InvalidValue("spec: hostname or domainname without a uts namespace of the container's own")
    if "cgroup" not in kinds and any(one.type == "cgroup2" for one in spec.mounts):
        raise Unsupported(
            "spec: a mount of type cgroup2 without a cgroup namespace would show the host's cgroups",
            "type cgroup shows the container's own, on either version",
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
