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
from cratebox.runtime.values import check_absolute, check_environment, check_range, check_text, check_word

DEVICE_TYPES = ("c", "b", "u", "p")
NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
VERSIONS = ("1.0.0", "1.3.0")  # of the specification: the oldest and the newest that a spec may be written for
_ID_MAX = 2**32 - 2  # (uid_t)-1 means "no change" to the kernel
_MAJOR_MAX, _MINOR_MAX = 0xFFF, 0xFFFFF  # dev_t of the kernel: 12 and 20 bits
_NAME_MAX = 64  # bytes of a host name, uts(7)
_RARE_OF_PROCESS = ("scheduler", "io_priority", "exec_cpu_affinity", "apparmor_profile", "selinux_label")
_RARE_OF_LINUX = ("time_offsets", "net_devices", "personality", "intel_rdt", "memory_policy")
_MOST_MAPPINGS = 340  # lines of /proc/PID/uid_map, user_namespaces(7)


def validate(spec: Spec) -> None:
    """Raise InvalidValue or Unsupported unless crate can run `spec` as it is."""
    _check_version(spec.oci_version)
    if spec.root is None or not spec.root.path:
        raise InvalidValue("spec: root.path is missing")
    if spec.process is None:
        raise InvalidValue("spec: process is missing")
    if spec.linux is None:
        raise InvalidValue("spec: linux is missing")
    if spec.hooks:
        from cratebox.runtime import validate_rare

        validate_rare.check_hooks(spec.hooks)
    check_text("root.path", spec.root.path)
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        check_text(name, value)
        if len(os.fsencode(value)) > _NAME_MAX:
            raise InvalidValue(f"spec: {name} {value!a} has more than {_NAME_MAX} bytes")
    check_process(spec.process, "spec")
    _check_linux(spec.linux)
    for number, mount in enumerate(spec.mounts):
        _check_mount(f"mounts[{number}]", mount)
    _check_together(spec, spec.linux)


def _check_version(version: str) -> None:
    """By semantic versioning a spec of a later 1.x may have properties that we would pass over without knowing it."""
    parts = version.split(".", 2)
    if len(parts) < 3 or not all(part.isascii() and part.isdigit() for part in parts[:2]) or not parts[2][:1].isdigit():
        raise InvalidValue(f"spec: ociVersion {version!a} is not a version as 1.3.0")
    newest = VERSIONS[1].split(".")
    if parts[0] != newest[0] or len(parts[1]) > 3 or int(parts[1]) > int(newest[1]):
        raise Unsupported(f"spec: ociVersion {version!a}: this version of crate does {VERSIONS[0]} to {VERSIONS[1]}")


def check_process(process: Process, what: str = "process") -> None:
    """Look at a process, that of a spec or of `exec --process`. Raises InvalidValue and Unsupported."""
    try:
        _check_process(process)
    except CrateError as error:
        raise type(error)(f"{what}: {error.message.removeprefix('spec: ')}", error.hint) from None


def _check_process(process: Process) -> None:
    if not process.args or not process.args[0]:
        raise InvalidValue("spec: process.args names no command")
    for word in (*process.args, process.cwd):
        check_text("process", word)
    if not process.cwd.startswith("/"):
        raise InvalidValue(f"spec: process.cwd {process.cwd!a} is not absolute")
    for number in (process.user.uid, process.user.gid, *process.user.additional_gids):
        check_range("process.user has the ID", number, 0, _ID_MAX)
    check_range("process.user.umask", process.user.umask, 0, 0o777)
    check_range("process.oomScoreAdj", process.oom_score_adj, -1000, 1000)
    if process.console_size:
        for side, number in process.console_size.as_dict().items():
            check_range(f"process.consoleSize.{side}", number, 0, 0xFFFF)
    check_environment("process.env", process.env)
    _check_limits(process.rlimits)
    if any(getattr(process, name) for name in _RARE_OF_PROCESS):
        from cratebox.runtime import validate_rare

        validate_rare.check_process(process)


def passed_over(process: Process | None, linux: Linux | None) -> list[str]:
    """Return a warning for each capability that no kernel knows, and one for those that the caller does not have itself and so
    cannot give: the process runs without (config.md, Process). In a user namespace there are all.
    """
    if not process or not process.capabilities:
        return []
    named = {name for names in process.capabilities.as_dict().values() for name in names}
    found = [f"process.capabilities has {name!a}, which is no capability" for name in sorted(named.difference(caps.NAMES))]
    lacking = caps.mask(frozenset(named)) & ~caps.get()[1]
    if lacking and not (linux and any(one.type == "user" for one in linux.namespaces)):
        names = ", ".join(name for number, name in enumerate(caps.NAMES) if lacking >> number & 1)
        found.append(f"process.capabilities: {names}: not given, for the caller does not have them")
    return found


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


def _check_linux(linux: Linux) -> None:
    _check_namespaces(linux)
    if any(getattr(linux, name) for name in _RARE_OF_LINUX):
        from cratebox.runtime import validate_rare

        validate_rare.check_linux(linux)
    _check_mappings("linux.uidMappings", linux.uid_mappings)
    _check_mappings("linux.gidMappings", linux.gid_mappings)
    for number, device in enumerate(linux.devices):
        _check_device(f"linux.devices[{number}]", device)
    for field, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for number, path in enumerate(paths):
            check_absolute(f"linux.{field}[{number}]", path)
    if linux.rootfs_propagation and linux.rootfs_propagation not in mount_options.PROPAGATION:
        raise InvalidValue(
            f"spec: linux.rootfsPropagation {linux.rootfs_propagation!a} is none", "shared, slave, private and unbindable are"
        )
    if linux.sysctl:
        from cratebox.runtime import sysctl

        sysctl.check(linux.sysctl, frozenset(namespace.type for namespace in linux.namespaces))
    _check_elsewhere(linux)


def _check_namespaces(linux: Linux) -> None:
    seen: dict[str, str] = {}
    for number, namespace in enumerate(linux.namespaces):
        where = f"linux.namespaces[{number}]"
        check_word(f"{where}.type", namespace.type, NAMESPACES)
        if namespace.type in seen:
            raise InvalidValue(f"spec: linux.namespaces has {namespace.type} twice")
        if namespace.path:
            check_absolute(f"{where}.path", namespace.path)
        seen[namespace.type] = namespace.path
    if seen.get("mount") != "":
        raise Unsupported(
            "spec: a container without a mount namespace of its own is not done by crate: its mounts would be others' as well",
            'linux.namespaces takes {"type": "mount"} without a path',
        )
    if "user" not in seen and (linux.uid_mappings or linux.gid_mappings):
        raise InvalidValue("spec: linux.uidMappings and gidMappings without a user namespace in linux.namespaces")
    if seen.get("user") == "" and not (linux.uid_mappings and linux.gid_mappings):
        raise InvalidValue("spec: a new user namespace needs linux.uidMappings and linux.gidMappings")


def _check_mappings(where: str, mappings: tuple[IDMapping, ...]) -> None:
    for one in mappings:
        if min(one.container_id, one.host_id) < 0 or one.size < 1 or max(one.container_id, one.host_id) + one.size > 2**32:
            raise InvalidValue(f"spec: {where} has {one.container_id} {one.host_id} {one.size}, which are no ranges of IDs")
    if len(mappings) > _MOST_MAPPINGS:
        raise InvalidValue(f"spec: {where} has {len(mappings)} entries; the kernel takes {_MOST_MAPPINGS}")
    for side in ("container_id", "host_id"):
        end = 0
        for first, size in sorted((getattr(one, side), one.size) for one in mappings):
            if first < end:
                raise InvalidValue(f"spec: {where} maps the ID {first} twice")
            end = first + size


def _check_device(where: str, device: Device) -> None:
    check_absolute(f"{where}.path", device.path)
    if os.path.basename(device.path) in {"", ".", ".."}:
        raise InvalidValue(f"spec: {where}.path {device.path!a} is no path of a file")
    if device.type not in DEVICE_TYPES:
        raise InvalidValue(f"spec: {where}.type {device.type!a} is none of {', '.join(DEVICE_TYPES)}")
    check_range(f"{where}.major", device.major, 0, _MAJOR_MAX)
    check_range(f"{where}.minor", device.minor, 0, _MINOR_MAX)
    check_range(f"{where}.fileMode", device.file_mode, 0, 2**32 - 1)
    check_range(f"{where}.uid", device.uid, 0, _ID_MAX)
    check_range(f"{where}.gid", device.gid, 0, _ID_MAX)


def _check_elsewhere(linux: Linux) -> None:
    """Ask those who will work with them about the properties that have a form of their own."""
    try:
        if linux.cgroups_path:
            check_text("linux.cgroupsPath", linux.cgroups_path)
            from cratebox.cgroup.tree import checked_path

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
    if not mount.destination:
        raise InvalidValue(f"spec: {where}.destination is empty")
    check_text(f"{where}.destination", mount.destination)
    for word in (mount.type, mount.source, *mount.options):
        check_text(where, word)
    if not (mount.source or mount_options.is_new(mount) or "remount" in mount.options):
        raise InvalidValue(f"spec: {where}.source is missing: there is nothing to bind")
    if mount.uid_mappings or mount.gid_mappings:
        _check_mappings(f"{where}.uidMappings", mount.uid_mappings)
        _check_mappings(f"{where}.gidMappings", mount.gid_mappings)
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
