"""The OCI runtime specification's config.json as frozen records (runtime-spec 1.3, config.md and config-linux.md).

A record's fields are the document's properties, `no_new_privileges` for `noNewPrivileges`; document.py turns the one into
the other. Properties that the specification does not have are ignored, as it demands.
"""

from __future__ import annotations

from cratebox import document
from cratebox.cgroup.model import Resources, as_before_1_3
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "1.3.0"


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


class Scheduler(Record):
    """`runtime`, `deadline` and `period` are nanoseconds (sched_setattr(2))."""

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IOPriority(Record):
    class_: str
    priority: int = 0


class ExecCPUAffinity(Record):
    """Lists of CPUs as in "0-3,7", of a process that joins: `initial` before it is in the cgroup, `final` after that."""

    initial: str = ""
    final: str = ""


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
    scheduler: Scheduler | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: ExecCPUAffinity | None = None


class Hook(Record):
    """`timeout` is in seconds."""

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Hooks(Record):
    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


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


class TimeOffset(Record):
    secs: int = 0
    nanosecs: int = 0


class NetDevice(Record):
    """What becomes of an interface of the runtime's network namespace; `name` is its name in the container."""

    name: str = ""


class SeccompArg(Record):
    index: int
    value: int
    op: str
    value_two: int = 0


class Syscall(Record):
    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SeccompArg, ...] = ()


class Seccomp(Record):
    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[Syscall, ...] = ()


class Personality(Record):
    domain: str
    flags: tuple[str, ...] = ()


class IntelRdt(Record):
    clos_id: str = ""
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_monitoring: bool = False
    enable_cmt: bool = False  # these two until 1.2
    enable_mbm: bool = False


class MemoryPolicy(Record):
    """`nodes` is a list of NUMA nodes as in "0-3,7"."""

    mode: str
    nodes: str = ""
    flags: tuple[str, ...] = ()


class Linux(Record):
    namespaces: tuple[Namespace, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: dict[str, TimeOffset] | None = None
    devices: tuple[Device, ...] = ()
    net_devices: dict[str, NetDevice] | None = None
    cgroups_path: str = ""
    resources: Resources | None = None
    rootfs_propagation: str = ""
    seccomp: Seccomp | None = None
    sysctl: dict[str, str] | None = None
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    personality: Personality | None = None
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None


class Spec(Record):
    oci_version: str
    root: Root | None = None
    mounts: tuple[Mount, ...] = ()
    process: Process | None = None
    hostname: str = ""
    domainname: str = ""
    hooks: Hooks | None = None
    annotations: dict[str, str] | None = None
    linux: Linux | None = None


def decode(parsed: Any) -> Spec:
    """Return the records of a parsed config.json. Raises InvalidValue that names the property and what it must be."""
    spec = document.decode(Spec, parsed, "spec")
    if spec.linux and spec.linux.resources and spec.oci_version.startswith(("1.0.", "1.1.", "1.2.")):
        resources = as_before_1_3(spec.linux.resources)
        if resources is not spec.linux.resources:
            return spec.replace(linux=spec.linux.replace(resources=resources))
    return spec


def decode_process(parsed: Any) -> Process:
    """Return the records of a process document (what `exec --process` reads). Raises InvalidValue."""
    return document.decode(Process, parsed, "process")
