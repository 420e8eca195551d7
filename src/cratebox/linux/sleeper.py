"""A process of a few kilobytes that sleeps until one of its descriptors has something to say, or for so long,
and then executes a program.

It is a program in sealed memory, as stub.py is: what has nothing to do needs no interpreter to do it. In C:

    // argv: a name, then the program to execute and its arguments
    rt_sigprocmask(SIG_BLOCK, all); prctl(PR_SET_NAME, argv[0]);
    poll(fds, n, milliseconds);
    execve(argv[1], &argv[1], envp); exit_group(126);
"""

from __future__ import annotations

import struct

from cratebox.linux import const, stub
from cratebox.linux._libc import failure, path_bytes, string_array, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

_LONGEST = (1 << 31) - 1  # milliseconds: 24 days


def build(fds: Mapping[int, int], milliseconds: int = -1, machine: str = const.MACHINE) -> bytes:
    """Return the program as an ELF image for `machine` ("x86_64" or "aarch64"); it sleeps until one of `fds` has one of its
    events as of poll(2), at most for so long, and 24 days (negative: for ever).
    """
    polled = [fd | events << 32 for fd, events in fds.items()]  # struct pollfd: int fd, short events, short revents
    most = min(milliseconds, _LONGEST)
    return stub.elf(_x86_64(polled, most) if machine == "x86_64" else _aarch64(polled, most), machine)


def execute(program_fd: int, name: str, argv: Sequence[str], env: Sequence[str]) -> NoReturn:
    """Become the sleeper, called `name`, that executes `argv` with the environment `env` (KEY=VALUE). Raises OSError."""
    words = string_array([path_bytes(word) for word in (name, *argv)])
    environment = string_array([path_bytes(entry) for entry in env])
    syscall(const.SYS_execveat, program_fd, b"", words, environment, const.AT_EMPTY_PATH)
    raise failure(f"execveat({name})")


def _x86_64(polled: list[int], milliseconds: int) -> bytes:
    """Call number in eax, arguments in edi, esi, edx, r10; rbx keeps the first rsp."""

    def load(opcode: int, value: int) -> bytes:
        return struct.pack("<BI", opcode, value & 0xFFFFFFFF)

    eax, edx, esi, edi = 0xB8, 0xBA, 0xBE, 0xBF  # mov r32, imm32
    call = b"\x0f\x05"
    return b"".join((
        b"\x48\x89\xe3",  # mov rbx, rsp
        b"\x6a\xff\x48\x89\xe6",  # push -1; mov rsi, rsp
        load(edi, 0), load(edx, 0), b"\x41\xba\x08\0\0\0", load(eax, 14), call,  # mov r10d, 8; rt_sigprocmask
        b"\x48\x8b\x73\x08", load(edi, const.PR_SET_NAME), load(eax, 157), call,  # mov rsi, [rbx+8]; prctl
        *(b"\x48\xb8" + struct.pack("<Q", one) + b"\x50" for one in polled),  # mov rax, imm64; push rax
        b"\x48\x89\xe7", load(esi, len(polled)), load(edx, milliseconds), load(eax, 7), call,  # mov rdi, rsp; poll
        b"\x48\x8b\x7b\x10",  # mov rdi, [rbx+16]      argv[1]
        b"\x48\x8d\x73\x10",  # lea rsi, [rbx+16]      &argv[1]
        b"\x48\x8b\x03",  # mov rax, [rbx]             argc
        b"\x48\x8d\x54\xc3\x10",  # lea rdx, [rbx+rax*8+16]  envp
        load(eax, 59), call,  # execve
        load(edi, 126), load(eax, 231), call,  # exit_group
    ))  # fmt: skip


def _aarch64(polled: list[int], milliseconds: int) -> bytes:
    """Call number in w8, arguments in x0 to x4; x19 keeps the first sp."""

    def load(register: int, value: int) -> list[int]:
        low, high = value & 0xFFFF, value >> 16 & 0xFFFF
        return [0x52800000 | low << 5 | register, 0x72A00000 | high << 5 | register]  # movz, movk lsl 16

    def put(at: int, value: int) -> list[int]:
        parts = [value >> shift & 0xFFFF for shift in (0, 16, 32, 48)]
        movs = [
            opcode | part << 5 for opcode, part in zip((0xD2800000, 0xF2A00000, 0xF2C00000, 0xF2E00000), parts, strict=True)
        ]
        return [*movs, 0xF90003E0 | at << 10]  # str x0, [sp, #8*at]

    call, x1_is_sp = [0xD4000001], [0x910003E1]  # svc #0; mov x1, sp
    room = (8 * len(polled) + 15) & ~15
    timespec: list[int] = load(2, 0)
    if milliseconds >= 0:
        seconds, rest = divmod(milliseconds, 1000)
        timespec = [
            *put(room // 8, seconds),
            *put(room // 8 + 1, rest * 1_000_000),
            0x910003E2 | room << 10,
        ]  # add x2, sp, #room
    words = [
        0x910003F3,  # mov x19, sp
        0xD10003FF | room + 16 << 10,  # sub sp, sp, #room + 16
        0x92800001,  # mov x1, #-1
        0xF90003E1,  # str x1, [sp]
        *load(0, 0), *x1_is_sp, *load(2, 0), *load(3, 8), *load(8, 135), *call,  # rt_sigprocmask
        0xF9400661,  # ldr x1, [x19, #8]
        *load(0, const.PR_SET_NAME), *load(8, 167), *call,  # prctl
        *(word for at, value in enumerate(polled) for word in put(at, value)),
        *timespec,
        0x910003E0,  # mov x0, sp
        *load(1, len(polled)), *load(3, 0), *load(4, 0), *load(8, 73), *call,  # ppoll
        0xF9400A60,  # ldr x0, [x19, #16]          argv[1]
        0x91004261,  # add x1, x19, #16            &argv[1]
        0xF9400262,  # ldr x2, [x19]               argc
        0x8B020E62,  # add x2, x19, x2, lsl #3
        0x91004042,  # add x2, x2, #16             envp
        *load(8, 221), *call,  # execve
        *load(0, 126), *load(8, 94), *call,  # exit_group
    ]  # fmt: skip
    return struct.pack(f"<{len(words)}I", *words)
