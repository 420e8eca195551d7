"""Attributes of the calling thread that execve(2) keeps: scheduler, priority of input and output, memory policy,
personality.
"""

from __future__ import annotations

import struct

from cratebox.linux import const
from cratebox.linux._libc import checked

_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_SHIFT = 1, 13


def set_scheduler(policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int) -> None:
    """Call sched_setattr(2) with a struct sched_attr of its first version; times are nanoseconds. Raises OSError."""
    attr = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period)
    checked(f"sched_setattr(policy {policy})", const.SYS_sched_setattr, 0, attr, 0)


def set_io_priority(class_: int, priority: int) -> None:
    """Call ioprio_set(2); `class_` is 1 for real time, 2 for best effort, 3 for idle. Raises OSError."""
    value = class_ << _IOPRIO_CLASS_SHIFT | priority
    checked(f"ioprio_set({class_}, {priority})", const.SYS_ioprio_set, _IOPRIO_WHO_PROCESS, 0, value)


def set_memory_policy(mode: int, nodes: tuple[int, ...]) -> None:
    """Call set_mempolicy(2); `mode` holds the MPOL_F_* flags as well. Raises OSError."""
    bits = sum(1 << node for node in nodes)
    # The kernel takes one bit less than it is told, an old mistake that libnuma knows as well.
    words = (bits.bit_length() + 63) // 64
    mask = bits.to_bytes(8 * words, "little") if words else None
    checked(f"set_mempolicy({mode:#x})", const.SYS_set_mempolicy, mode, mask, 64 * words + 1 if words else 0)


def set_personality(persona: int) -> None:
    """Call personality(2). Raises OSError."""
    checked(f"personality({persona:#x})", const.SYS_personality, persona)
