"""The OCI runtime specification's config.json as frozen records (runtime-spec 1.2, config.md and config-linux.md).

A record's fields are the document's properties, `no_new_privileges` for `noNewPrivileges`; document.py turns the one into
the other. Properties that the specification does not have are ignored, as it demands.
"""

from __future__ import annotations

from cratebox import document
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.2.0"


class Root(Record):
    path: str
    readonly: bool = False


class IDMapping(Record):
    container_id: int
    host_id: int
    size: int


class Mount(Record):
    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


class User(Record):
    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()


class Capabilities(Record):
    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Record):
    type: str
    soft: int
    hard: int


class ConsoleSize(Record):
    height: int
    width: int


class Process(Record):
    cwd: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    terminal: bool = False
    console_size: ConsoleSize | None = None
    user: User = User()
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    oom_score_adj: int | None = None
    apparmor_profile: str = ""
    selinux_label: str = ""
    scheduler: dict[str, Any] | None = None
    io_priority: dict[str, Any] | None = None
    exec_cpu_affinity: dict[str, Any] | None = None


class Namespace(Record):
    type: str
    path: str = ""


class Device(Record):
    path: str
    type: str
    major: int = 0
    minor: int = 0
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class Linux(Record):
    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: dict[str, Any] | None = None
    devices: tuple[Device, ...] = ()
    net_devices: dict[str, Any] | None = None
    cgroups_path: str = ""
    resources: dict[str, Any] | None = None
    rootfs_propagation: str = ""
    seccomp: dict[str, Any] | None = None
    sysctl: dict[str, str] | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: dict[str, Any] | None = None
    intel_rdt: dict[str, Any] | None = None
    memory_policy: dict[str, Any] | None = None


class Spec(Record):
    oci_version: str
    root: Root | None = None
    mounts: tuple[Mount, ...] = ()
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    hooks: dict[str, Any] | None = None
    annotations: dict[str, str] | None = None
    linux: Linux | None = None


def decode(parsed: Any) -> Spec:
    """Return the records of a parsed config.json. Raises InvalidValue that names the property and what it must be."""
    return document.decode(Spec, parsed, "spec")


def decode_process(parsed: Any) -> Process:
    """Return the records of a process document (what `exec --process` reads). Raises InvalidValue."""
    return document.decode(Process, parsed, "process")
