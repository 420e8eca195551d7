"""How the kernel shall treat the process: scheduler, priority of input and output, NUMA memory policy, personality, CPUs.

The numbers of the specification's words (sched(7), ioprio_set(2), set_mempolicy(2), personality(2)), and the calls that apply
them to the caller; execve(2) keeps all of them. Each raises RuntimeFailure that names the property. Only specs that have such
a property import this.
"""

from __future__ import annotations

import os

from cratebox.errors import RuntimeFailure
from cratebox.linux import attributes
from cratebox.runtime.values import parse_list

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.runtime.spec import IOPriority, Linux, MemoryPolicy, Personality, Process, Scheduler

POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04, "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20, "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip
UTIL_CLAMP = ("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX")
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
DOMAINS = {"LINUX": 0x0000, "LINUX32": 0x0008}
MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4, "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}

_MOST = 8191
_NICE = "lower nice values, real-time policies and classes take CAP_SYS_NICE in the machine's first user namespace"
_REALTIME = _NICE + ", and a cgroup of v1 a share of real time (resources.cpu.realtimeRuntime, in its parents too)"


def apply(process: Process, linux: Linux | None) -> None:
    """Apply all that the spec asks for to this process. It must be in its cgroup already, and still have its capabilities."""
    if linux and linux.memory_policy:
        _set_memory_policy(linux.memory_policy)
    if process.io_priority:
        _set_io_priority(process.io_priority)
    if process.scheduler:
        _set_scheduler(process.scheduler)
    if linux and linux.personality:
        _set_personality(linux.personality)


def _set_scheduler(wanted: Scheduler) -> None:
    flags = sum(FLAGS[name] for name in set(wanted.flags))
    times = (wanted.runtime, wanted.deadline, wanted.period)
    try:
        attributes.set_scheduler(POLICIES[wanted.policy], flags, wanted.nice, wanted.priority, *times)
    except OSError as error:
        hint = {1: _REALTIME, 16: "the machine's processors have no room for that much of SCHED_DEADLINE"}.get(error.errno or 0)
        raise RuntimeFailure(f"cannot apply process.scheduler: {error.strerror}", hint) from None


def _set_io_priority(wanted: IOPriority) -> None:
    try:
        attributes.set_io_priority(IO_CLASSES[wanted.class_], wanted.priority)
    except OSError as error:
        raise RuntimeFailure(
            f"cannot apply process.ioPriority: {error.strerror}", _NICE if error.errno == 1 else None
        ) from None


def _set_memory_policy(wanted: MemoryPolicy) -> None:
    mode = MEMORY_MODES[wanted.mode] | sum(MEMORY_FLAGS[name] for name in set(wanted.flags))
    try:
        attributes.set_memory_policy(mode, parse_list("linux.memoryPolicy.nodes", wanted.nodes, _MOST))
    except OSError as error:
        hints = {
            22: "not every kernel knows each mode and flag, and the nodes must be there and in the cgroup's cpuset",
            38: "this kernel was built without CONFIG_NUMA",
        }
        raise RuntimeFailure(f"cannot apply linux.memoryPolicy: {error.strerror}", hints.get(error.errno or 0)) from None


def _set_personality(wanted: Personality) -> None:
    try:
        attributes.set_personality(DOMAINS[wanted.domain])
    except OSError as error:
        raise RuntimeFailure(f"cannot apply linux.personality: {error.strerror}") from None


def set_affinity(cpus: str, name: str) -> None:
    """Let this process run on the CPUs of the list `cpus` alone, the value of process.execCPUAffinity.`name`; none: leave it.

    `exec` calls it twice: with `initial` before the process is in the container's cgroup, with `final` once it is.
    Raises RuntimeFailure.
    """
    if not cpus:
        return
    try:
        os.sched_setaffinity(0, parse_list(f"process.execCPUAffinity.{name}", cpus, _MOST))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RuntimeFailure(
            f"cannot run on the CPUs of process.execCPUAffinity.{name}, {cpus}: {reason}",
            "one of them at least must be there, and in the cpuset of the cgroup",
        ) from None
