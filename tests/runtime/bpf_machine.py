"""The kernel's classic BPF for seccomp, in Python: what a filter answers to a call, without making the call.

linux/filter.h and linux/bpf_common.h for the instructions, linux/seccomp.h for struct seccomp_data.
"""

from __future__ import annotations

import struct

_COMPARE = {0x10: lambda a, k: a == k, 0x20: lambda a, k: a > k, 0x30: lambda a, k: a >= k, 0x40: lambda a, k: bool(a & k)}


def load(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", program))


def check(instructions: list[tuple[int, int, int, int]]) -> None:
    """Fail where the kernel would not load the program: jumps out of it, an end that is no return."""
    size = len(instructions)
    assert 0 < size <= 4096
    assert instructions[-1][0] & 7 == 6
    for at, (code, true, false, k) in enumerate(instructions):
        if code == 0x05:
            assert at + 1 + k < size
        elif code & 7 == 5:
            assert at + 1 + max(true, false) < size


def answer(instructions: list[tuple[int, int, int, int]], arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """Return what the filter says (SECCOMP_RET_*) to call `number` with `arguments` on the architecture AUDIT_ARCH_*."""
    values = (*arguments, *(0 for _ in range(6 - len(arguments))))
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, arch, 0, *values)
    words = struct.unpack("<16I", data)
    accumulator = x = at = 0
    memory = [0] * 16
    while True:
        code, true, false, k = instructions[at]
        at += 1
        kind = code & 7
        if code == 0x06:
            return k
        if code == 0x20:
            accumulator = words[k // 4]
        elif code == 0x05:
            at += k
        elif kind == 5:
            at += true if _COMPARE[code & 0xF0](accumulator, x if code & 8 else k) else false
        elif code == 0x54:
            accumulator &= k
        elif code == 0x02:
            memory[k] = accumulator
        elif code == 0x60:
            accumulator = memory[k]
        else:
            raise AssertionError(f"instruction {code:#x} is not one that libseccomp makes")
