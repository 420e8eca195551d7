"""A process of a few kilobytes that waits for another one's end, and where that was violent executes a program in its place.

It is a program in sealed memory, as stub.py is, since an interpreter that only waits would take megabytes. In C:

    // argv: "crate-guardian", the pid of its child that is waited for, then the program to execute and its arguments
    rt_sigprocmask(SIG_BLOCK, all); rt_sigaction(SIGCHLD, SIG_DFL); prctl(PR_SET_NAME, argv[0]);
    for (;;) {
        if ((pid = wait4(-1, &status, __WALL, NULL)) < 0) { if (errno == EINTR) continue; exit_group(126); }
        if (pid != atoi(argv[1])) { send(report_fd, {int32 pid, int32 status}, 8, MSG_DONTWAIT | MSG_NOSIGNAL); continue; }
        if (WIFEXITED(status)) exit_group(0);
        execve(argv[2], &argv[2], envp); exit_group(126);
    }

The processes that lose their parent become its children where it is a subreaper (prctl(2)): it reports how they ended. The
program finds itself with the same pid, and so with these children, all signals blocked.
"""

from __future__ import annotations

import struct

from cratebox.linux import const, stub
from cratebox.linux._libc import failure, path_bytes, string_array, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

NAME = b"crate-guardian"
REPORT = struct.Struct("=ii")  # pid, status as of wait(2)

_SIGCHLD, _WALL, _DONTWAIT_NOSIGNAL = 17, 0x40000000, 0x4040
_EINTR = 4


def build(report_fd: int, machine: str = const.MACHINE) -> bytes:
    """Return the program as an ELF image for `machine` ("x86_64" or "aarch64"); it reports to the socket `report_fd`."""
    return stub.elf(_x86_64(report_fd) if machine == "x86_64" else _aarch64(report_fd), machine)


def execute(program_fd: int, child: int, argv: Sequence[str], env: Sequence[str]) -> NoReturn:
    """Become the guardian of the process `child`, ready to execute `argv` with the environment `env` (KEY=VALUE).
    Raises OSError.
    """
    words = string_array([NAME, str(child).encode(), *map(path_bytes, argv)])
    environment = string_array([path_bytes(entry) for entry in env])
    syscall(const.SYS_execveat, program_fd, b"", words, environment, const.AT_EMPTY_PATH)
    raise failure("execveat(crate-guardian)")


# Code is a list of instructions, of names (what a jump can go to) and of jumps: (the instruction, name).


def _linked(code: list[bytes | str | tuple[bytes, str]]) -> bytes:
    """Return x86-64 code whose jumps are told how far they go: 32 bits, from their own end."""
    places, at = {}, 0
    for one in code:
        if isinstance(one, str):
            places[one] = at
        else:
            at += len(one) if isinstance(one, bytes) else len(one[0]) + 4
    out = b""
    for one in code:
        if isinstance(one, bytes):
            out += one
        elif isinstance(one, tuple):
            out += one[0] + struct.pack("<i", places[one[1]] - len(out) - len(one[0]) - 4)
    return out


def _x86_64(report_fd: int) -> bytes:
    """Call number in eax, arguments in edi, esi, edx, r10, r8, r9; rbx keeps the first rsp, ebp the pid that is waited for."""

    def load(opcode: int, value: int) -> bytes:
        return struct.pack("<BI", opcode, value & 0xFFFFFFFF)

    def r10(value: int) -> bytes:
        return b"\x41\xba" + struct.pack("<I", value)

    eax, edx, edi = 0xB8, 0xBA, 0xBF  # mov r32, imm32
    call, rsi_is_rsp = b"\x0f\x05", b"\x48\x89\xe6"
    jump, jump_zero, jump_not_zero, jump_negative = b"\xe9", b"\x0f\x84", b"\x0f\x85", b"\x0f\x88"
    return _linked([
        b"\x48\x89\xe3",  # mov rbx, rsp
        b"\x48\x8b\x73\x10",  # mov rsi, [rbx+16]      argv[1]
        b"\x31\xed",  # xor ebp, ebp
        "digit",
        b"\x0f\xb6\x06",  # movzx eax, byte [rsi]
        b"\x85\xc0",  # test eax, eax
        (jump_zero, "number"),
        b"\x6b\xed\x0a",  # imul ebp, ebp, 10
        b"\x8d\x6c\x05\xd0",  # lea ebp, [rbp+rax-'0']
        b"\x48\xff\xc6",  # inc rsi
        (jump, "digit"),
        "number",
        b"\x6a\xff" + rsi_is_rsp + load(edi, 0) + load(edx, 0) + r10(8) + load(eax, 14) + call,  # push -1; rt_sigprocmask
        b"\x6a\x00" * 4 + rsi_is_rsp + load(edi, _SIGCHLD) + load(edx, 0) + r10(8) + load(eax, 13) + call,  # rt_sigaction
        b"\x48\x8b\x73\x08" + load(edi, const.PR_SET_NAME) + load(eax, 157) + call,  # mov rsi, [rbx+8]; prctl
        "wait",
        load(edi, -1) + b"\x48\x8d\x74\x24\x04" + load(edx, _WALL) + r10(0) + load(eax, 61) + call,  # lea rsi, [rsp+4]; wait4
        b"\x89\x04\x24",  # mov [rsp], eax
        b"\x85\xc0",  # test eax, eax
        (jump_negative, "nothing"),
        b"\x39\xe8",  # cmp eax, ebp
        (jump_zero, "ended"),
        load(edi, report_fd) + rsi_is_rsp + load(edx, REPORT.size) + r10(_DONTWAIT_NOSIGNAL),
        b"\x45\x31\xc0\x45\x31\xc9" + load(eax, 44) + call,  # xor r8d, r8d; xor r9d, r9d; sendto
        (jump, "wait"),
        "nothing",
        b"\x83\xf8" + struct.pack("<b", -_EINTR),  # cmp eax, -EINTR
        (jump_zero, "wait"),
        (jump, "failed"),
        "ended",
        b"\xf6\x44\x24\x04\x7f",  # test byte [rsp+4], 0x7f
        (jump_not_zero, "killed"),
        load(edi, 0) + load(eax, 231) + call,  # exit_group
        "killed",
        b"\x48\x8b\x7b\x18",  # mov rdi, [rbx+24]      argv[2]
        b"\x48\x8d\x73\x18",  # lea rsi, [rbx+24]      &argv[2]
        b"\x48\x8b\x03",  # mov rax, [rbx]             argc
        b"\x48\x8d\x54\xc3\x10",  # lea rdx, [rbx+rax*8+16]  envp
        load(eax, 59) + call,  # execve
        "failed",
        load(edi, 126) + load(eax, 231) + call,  # exit_group
    ])  # fmt: skip


def _aarch64(report_fd: int) -> bytes:
    """Call number in w8, arguments and result in x0 to x5; x19 keeps the first sp, w20 the pid that is waited for."""

    def load(register: int, value: int) -> list[int]:
        low, high = value & 0xFFFF, value >> 16 & 0xFFFF
        return [0x52800000 | low << 5 | register, 0x72A00000 | high << 5 | register]  # movz, movk lsl 16

    call, x1_is_sp = [0xD4000001], [0x910003E1]  # svc #0; mov x1, sp
    always, equal, not_equal, zero, negative = 0x14000000, 0x54000000, 0x54000001, 0x34000000, 0x37F80000
    code: list[int | str | tuple[int, str]] = [
        0x910003F3,  # mov x19, sp
        0xF9400A61,  # ldr x1, [x19, #16]          argv[1]
        *load(20, 0), *load(2, 10),
        "digit",
        0x38401420,  # ldrb w0, [x1], #1
        (zero, "number"),  # cbz w0
        0x1B027E94,  # mul w20, w20, w2
        0x0B000294,  # add w20, w20, w0
        0x5100C294,  # sub w20, w20, #'0'
        (always, "digit"),
        "number",
        0xD100C3FF,  # sub sp, sp, #48
        0x92800001,  # mov x1, #-1
        0xF90003E1,  # str x1, [sp]
        *load(0, 0), *x1_is_sp, *load(2, 0), *load(3, 8), *load(8, 135), *call,  # rt_sigprocmask
        0xA9007FFF,  # stp xzr, xzr, [sp]
        0xA9017FFF,  # stp xzr, xzr, [sp, #16]
        *load(0, _SIGCHLD), *x1_is_sp, *load(2, 0), *load(3, 8), *load(8, 134), *call,  # rt_sigaction
        0xF9400661,  # ldr x1, [x19, #8]
        *load(0, const.PR_SET_NAME), *load(8, 167), *call,  # prctl
        "wait",
        0x92800000,  # mov x0, #-1
        0x910013E1,  # add x1, sp, #4
        *load(2, _WALL), *load(3, 0), *load(8, 260), *call,  # wait4
        0xB90003E0,  # str w0, [sp]
        (negative, "nothing"),  # tbnz w0, #31
        0x6B14001F,  # cmp w0, w20
        (equal, "ended"),
        *load(0, report_fd), *x1_is_sp, *load(2, REPORT.size), *load(3, _DONTWAIT_NOSIGNAL), *load(4, 0), *load(5, 0),
        *load(8, 206), *call,  # sendto
        (always, "wait"),
        "nothing",
        0x3100001F | _EINTR << 10,  # cmn w0, #EINTR
        (equal, "wait"),
        (always, "failed"),
        "ended",
        0xB94007E0,  # ldr w0, [sp, #4]
        0x7200181F,  # tst w0, #0x7f
        (not_equal, "killed"),
        *load(0, 0), *load(8, 94), *call,  # exit_group
        "killed",
        0xF9400E60,  # ldr x0, [x19, #24]          argv[2]
        0x91006261,  # add x1, x19, #24            &argv[2]
        0xF9400262,  # ldr x2, [x19]               argc
        0x8B020E62,  # add x2, x19, x2, lsl #3
        0x91004042,  # add x2, x2, #16             envp
        *load(8, 221), *call,  # execve
        "failed",
        *load(0, 126), *load(8, 94), *call,  # exit_group
    ]  # fmt: skip
    places, at = {}, 0
    for one in code:
        if isinstance(one, str):
            places[one] = at
        else:
            at += 1
    words: list[int] = []
    for one in code:
        if isinstance(one, tuple):
            opcode, distance = one[0], places[one[1]] - len(words)
            field = {always: (26, 0), negative: (14, 5)}.get(opcode, (19, 5))
            words.append(opcode | (distance & (1 << field[0]) - 1) << field[1])
        elif isinstance(one, int):
            words.append(one)
    return struct.pack(f"<{len(words)}I", *words)
