"""What the properties must be that few specs have; `validate` imports this only for those. Pure.

config.md: Hooks, and Process on scheduler, ioPriority and execCPUAffinity; config-linux.md: Offset for Time Namespace, Network
Devices, Personality, IntelRdt, Memory Policy. Raises InvalidValue and Unsupported, with the property's name.
"""

from __future__ import annotations

from cratebox.errors import InvalidValue, Unsupported
from cratebox.runtime import scheduling
from cratebox.runtime.values import check_absolute, check_environment, check_range, check_text, check_word, parse_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import (
        ExecCPUAffinity,
        Hook,
        Hooks,
        IntelRdt,
        IOPriority,
        Linux,
        MemoryPolicy,
        NetDevice,
        Personality,
        Process,
        Scheduler,
        TimeOffset,
    )

CLOCKS = ("monotonic", "boottime")
_MOST_CPUS, _MOST_NODES = 8191, 1023  # CONFIG_NR_CPUS and CONFIG_NODES_SHIFT at most
_NAME_OF_INTERFACE = 15  # bytes, IFNAMSIZ of linux/if.h less the NUL
_REALTIME = ("SCHED_FIFO", "SCHED_RR")
_NICE = ("SCHED_OTHER", "SCHED_BATCH")


def check_hooks(hooks: Hooks) -> None:
    """Look at the hooks of every kind."""
    for kind, given in (
        ("prestart", hooks.prestart),
        ("createRuntime", hooks.create_runtime),
        ("createContainer", hooks.create_container),
        ("startContainer", hooks.start_container),
        ("poststart", hooks.poststart),
        ("poststop", hooks.poststop),
    ):
        for number, hook in enumerate(given):
            _check_hook(f"hooks.{kind}[{number}]", hook)


def _check_hook(where: str, hook: Hook) -> None:
    check_absolute(f"{where}.path", hook.path)
    for word in hook.args:
        check_text(f"{where}.args", word)
    check_environment(f"{where}.env", hook.env)
    if hook.timeout is not None and hook.timeout <= 0:
        raise InvalidValue(f"spec: {where}.timeout {hook.timeout}: it must be more than 0 seconds")


def check_process(process: Process) -> None:
    """Look at the properties of a process that few have."""
    if process.scheduler:
        _check_scheduler(process.scheduler)
    if process.io_priority:
        _check_io_priority(process.io_priority)
    if process.exec_cpu_affinity:
        _check_affinity(process.exec_cpu_affinity)
    for name, label in (("apparmorProfile", process.apparmor_profile), ("selinuxLabel", process.selinux_label)):
        check_text(f"process.{name}", label)
        if not label.isprintable():
            raise InvalidValue(f"spec: process.{name} {label!a} has characters that no label has")


def _check_scheduler(wanted: Scheduler) -> None:
    where = "process.scheduler"
    check_word(f"{where}.policy", wanted.policy, scheduling.POLICIES)
    if wanted.policy == "SCHED_ISO":
        raise Unsupported(f"spec: {where}.policy SCHED_ISO was never done by Linux")
    for flag in wanted.flags:
        check_word(f"{where}.flags", flag, scheduling.FLAGS)
        if flag in scheduling.UTIL_CLAMP:
            raise Unsupported(f"spec: {where}.flags {flag}: the specification has no property for the value that it clamps to")
    check_range(f"{where}.nice", wanted.nice, -20, 19)
    if wanted.nice and wanted.policy not in _NICE:
        raise InvalidValue(f"spec: {where}.nice {wanted.nice} means nothing to {wanted.policy}")
    if wanted.policy in _REALTIME:
        check_range(f"{where}.priority", wanted.priority, 1, 99)
    elif wanted.priority:
        raise InvalidValue(f"spec: {where}.priority {wanted.priority} means nothing to {wanted.policy}")
    _check_deadline(wanted, where)


def _check_deadline(wanted: Scheduler, where: str) -> None:
    times = (wanted.runtime, wanted.deadline, wanted.period)
    for name, value in zip(("runtime", "deadline", "period"), times, strict=True):
        check_range(f"{where}.{name}", value, 0, 2**63 - 1)
    if wanted.policy != "SCHED_DEADLINE":
        if any(times):
            raise InvalidValue(f"spec: {where}: runtime, deadline and period mean nothing to {wanted.policy}")
    elif not 0 < wanted.runtime <= wanted.deadline <= (wanted.period or wanted.deadline):
        raise InvalidValue(f"spec: {where}: SCHED_DEADLINE wants 0 < runtime <= deadline <= period, not {times}")


def _check_io_priority(wanted: IOPriority) -> None:
    check_word("process.ioPriority.class", wanted.class_, scheduling.IO_CLASSES)
    check_range("process.ioPriority.priority", wanted.priority, 0, 7)


def _check_affinity(wanted: ExecCPUAffinity) -> None:
    for name, text in (("initial", wanted.initial), ("final", wanted.final)):
        parse_list(f"process.execCPUAffinity.{name}", text, _MOST_CPUS)


def check_linux(linux: Linux) -> None:
    """Look at the properties of linux that few specs have."""
    own = {one.type: one.path for one in linux.namespaces}
    if linux.time_offsets:
        _check_offsets(linux.time_offsets, own)
    if linux.net_devices:
        _check_net_devices(linux.net_devices, own)
    if linux.personality:
        _check_personality(linux.personality)
    if linux.intel_rdt:
        _check_rdt(linux.intel_rdt)
    if linux.memory_policy:
        _check_memory_policy(linux.memory_policy)


def _check_offsets(offsets: dict[str, TimeOffset], own: dict[str, str]) -> None:
    for clock, offset in offsets.items():
        check_word("linux.timeOffsets has the clock", clock, CLOCKS)
        check_range(f"linux.timeOffsets.{clock}.secs", offset.secs, -(2**63), 2**63 - 1)
        check_range(f"linux.timeOffsets.{clock}.nanosecs", offset.nanosecs, 0, 999_999_999)
    if "time" not in own:
        raise InvalidValue("spec: linux.timeOffsets without a time namespace in linux.namespaces")
    if own["time"]:
        raise InvalidValue("spec: linux.timeOffsets of a time namespace that is joined: its clocks are set already")


def _check_net_devices(devices: dict[str, NetDevice], own: dict[str, str]) -> None:
    taken: set[str] = set()
    for name, device in devices.items():
        _check_interface("linux.netDevices", name)
        if device.name:
            _check_interface(f"linux.netDevices.{ascii(name)[1:-1]}.name", device.name.replace("%d", "0", 1))
        inside = device.name or name
        if inside in taken and "%d" not in inside:
            raise InvalidValue(f"spec: linux.netDevices: two of them would be called {inside!a}")
        taken.add(inside)
    if "network" not in own:
        raise InvalidValue("spec: linux.netDevices without a network namespace in linux.namespaces")


def _check_interface(where: str, name: str) -> None:
    """What dev_valid_name of the kernel takes, save what its own templates (%d) mean."""
    check_text(where, name)
    wrong = not name or name in {".", ".."} or any(sign in "/:%" or sign.isspace() for sign in name)
    if wrong or len(name.encode(errors="surrogateescape")) > _NAME_OF_INTERFACE:
        raise InvalidValue(f"spec: {where} {name!a} is no name of a network interface")


def _check_personality(wanted: Personality) -> None:
    check_word("linux.personality.domain", wanted.domain, scheduling.DOMAINS)
    if wanted.flags:
        raise InvalidValue(f"spec: linux.personality.flags has {wanted.flags[0]!a}: the specification has no flags yet")


def _check_rdt(wanted: IntelRdt) -> None:
    check_text("linux.intelRdt.closID", wanted.clos_id)
    if "/" in wanted.clos_id or wanted.clos_id in {".", "..", "info", "mon_data", "mon_groups"}:
        raise InvalidValue(f"spec: linux.intelRdt.closID {wanted.clos_id!a} is no name of a class of service")
    if wanted.l3_cache_schema and not wanted.l3_cache_schema.startswith("L3"):
        raise InvalidValue(f"spec: linux.intelRdt.l3CacheSchema {wanted.l3_cache_schema!a} does not begin with L3:")
    if wanted.mem_bw_schema and (not wanted.mem_bw_schema.startswith("MB:") or "\n" in wanted.mem_bw_schema):
        raise InvalidValue(f"spec: linux.intelRdt.memBwSchema {wanted.mem_bw_schema!a} is not one line that begins with MB:")
    for number, line in enumerate(wanted.schemata):
        if not line.isascii() or not line.strip():
            raise InvalidValue(f"spec: linux.intelRdt.schemata[{number}] {line!a} is no schema")


def _check_memory_policy(wanted: MemoryPolicy) -> None:
    """As the kernel's mpol_new and sanitize_mpol_flags, but with words."""
    where = "linux.memoryPolicy"
    check_word(f"{where}.mode", wanted.mode, scheduling.MEMORY_MODES)
    for flag in wanted.flags:
        check_word(f"{where}.flags", flag, scheduling.MEMORY_FLAGS)
    nodes = parse_list(f"{where}.nodes", wanted.nodes, _MOST_NODES)
    if wanted.mode in {"MPOL_DEFAULT", "MPOL_LOCAL"}:
        if nodes or wanted.flags:
            raise InvalidValue(f"spec: {where}: {wanted.mode} takes neither nodes nor flags")
    elif not nodes and (wanted.mode != "MPOL_PREFERRED" or wanted.flags):
        raise InvalidValue(f"spec: {where}.nodes is missing: {wanted.mode} needs nodes")
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= set(wanted.flags):
        raise InvalidValue(f"spec: {where}.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other")
    if "MPOL_F_NUMA_BALANCING" in wanted.flags and wanted.mode not in {"MPOL_BIND", "MPOL_PREFERRED_MANY"}:
        raise InvalidValue(f"spec: {where}.flags: MPOL_F_NUMA_BALANCING means nothing to {wanted.mode}")
