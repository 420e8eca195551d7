"""The last program of the host before the container's own: a few hundred bytes in sealed memory.

CVE-2019-5736: when a container's entry point is `#!/proc/self/exe`, or one of its processes opens /proc/PID/exe of the one
that enters, what it gets is the program that called execve. With us that would be the host's Python. So the host's last
step is to become this stub, an anonymous file that nobody can write to any more, and the stub executes the container's
program. A container that asks for its own executable gets these bytes, and may keep them.

The stub, in C:

    errno = ENOEXEC; if (memcmp(argv[0], MARK, 4) != 0) goto failed; // not called by crate, see MARK
    fcntl(report_fd, F_SETFD, FD_CLOEXEC);                       // so that success is an end of file in the pipe
    step = 3; if ((fd = openat2(proc_fd, label_path, &how, 24)) < 0) goto failed;  // O_WRONLY | O_CLOEXEC, see LabelWrite
    if (write(fd, label, length) < 0) goto failed; close(proc_fd);
    step = 1; if (seccomp(SECCOMP_SET_MODE_FILTER, flags, &prog) != 0) goto failed;
    step = 2; execve(argv[1], &argv[2], envp);
    failed: write(report_fd, {int32 step, int32 errno}, 8);
    exit_group(errno == ENOENT || errno == ENOTDIR ? 127 : 126);

seccomp comes here, after everything the set-up of a container needs, so that a profile has to allow no more than the
container itself uses: execve, and for a failure write and exit_group. It needs no_new_privs. The label is written here as well,
for it holds from the next execve(2) on: that must be the one of the container's program, which a profile may know, and not that
of the stub, which none does; and the kernel takes it only from whom the file was opened by. Where a profile refuses the
write, the pipe ends without a report and the exit code alone tells.

Machine instructions by Intel's Software Developer's Manual volume 2 and Arm's Architecture Reference Manual (A64), the
start state of a process by the System V ABI supplements of both: [sp] is argc, then argv, NULL, envp, NULL. The file is ELF-64
(System V gABI): one segment, readable and executable and never writable; the stack is writable and not executable.
"""

from __future__ import annotations

import os
import struct

from cratebox.linux import const
from cratebox.linux._libc import checked, failure, path_bytes, string_array, syscall
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

STEP_SECCOMP, STEP_EXECVE, STEP_LABEL = 1, 2, 3
REPORT_SIZE = 8  # bytes: int32 step, int32 errno, little endian

_BASE = 0x400000
_HEADERS = 64 + 2 * 56
_ELF_MACHINE = {"x86_64": 62, "aarch64": 183}
_EINVAL, _ENOEXEC = 22, 8
# The stub's own argv[0]. Without it, as where a script says #!/proc/self/exe, the stub would execute that script again,
# for ever.
MARK = b"\x01cr8"


class LabelWrite(Record):
    """A write of `text` to the file `path` of the procfs of descriptor `procfs`, which is closed then.

    No mount is entered on the way, and no symlink followed but those that are text (`self`, `thread-self`).
    """

    procfs: int
    path: str
    text: str


_NO_LABEL = (0, 0, 0, 0, 0)


def build(
    report_fd: int,
    filter: bytes = b"",  # noqa: A002  seccomp(2) calls it so
    filter_flags: int = 0,
    machine: str = const.MACHINE,
    label: LabelWrite | None = None,
) -> bytes:
    """Return the stub as an ELF image for `machine` ("x86_64" or "aarch64").

    `report_fd` is where a failure is written, or negative for nowhere. `filter` is an array of struct sock_filter, loaded
    with `filter_flags` (SECCOMP_FILTER_FLAG_*); none where it is empty. `label` is written before that.
    Raises ValueError for a filter that is none.
    """
    if len(filter) % 8 or len(filter) > 8 * 4096:
        raise ValueError(f"a seccomp filter of {len(filter)} bytes")
    assemble = _x86_64 if machine == "x86_64" else _aarch64
    # The code's length does not depend on the addresses of what follows it: struct sock_fprog or what the label's write takes.
    size = len(assemble(report_fd, _BASE if filter else 0, filter_flags, (1, 1, 1, 1, 1) if label else _NO_LABEL))
    written = (_HEADERS + size + 7) & ~7
    data, numbers = _label_data(label, _BASE + written) if label else (b"", _NO_LABEL)
    program = written + len(data)
    code = assemble(report_fd, _BASE + program if filter else 0, filter_flags, numbers)
    image = code.ljust(written - _HEADERS, b"\0") + data
    if filter:
        image += struct.pack("<HxxxxxxQ", len(filter) // 8, _BASE + program + 16) + filter
    return elf(image, machine)


def _label_data(label: LabelWrite, at: int) -> tuple[bytes, tuple[int, int, int, int, int]]:
    """Return struct open_how, the path and the text, to be put at address `at`, a multiple of 8; and descriptor, address of
    the path, of the structure, of the text, and its length.
    """
    resolve = const.RESOLVE_BENEATH | const.RESOLVE_NO_XDEV | const.RESOLVE_NO_MAGICLINKS
    how = struct.pack("<QQQ", os.O_WRONLY | os.O_CLOEXEC, 0, resolve)
    path, text = path_bytes(label.path) + b"\0", os.fsencode(label.text)
    data = how + path + text
    return data + bytes(-len(data) % 8), (label.procfs, at + len(how), at, at + len(how) + len(path), len(text))


def elf(image: bytes, machine: str) -> bytes:
    """Return a program of the code and data `image`: with the ELF header and its two program headers, PT_LOAD of the whole file
    and PT_GNU_STACK without PF_X.
    """
    total, read_execute, read_write = _HEADERS + len(image), 5, 6
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    number = _ELF_MACHINE[machine]
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, number, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    # 64 KiB: the largest page an arm64 kernel may have.
    load = struct.pack("<IIQQQQQQ", 1, read_execute, 0, _BASE, _BASE, total, total, 0x10000)
    return header + load + struct.pack("<IIQQQQQQ", 0x6474E551, read_write, 0, 0, 0, 0, 0, 16) + image


def _x86_64(fd: int, program: int, flags: int, label: tuple[int, int, int, int, int]) -> bytes:
    """Return the code for x86-64: call number in eax, arguments in edi, esi, edx, result in eax; rbx keeps the first rsp."""

    def load(opcode: int, value: int) -> bytes:
        return struct.pack("<BI", opcode, value & 0xFFFFFFFF)

    eax, edx, ebp, esi, edi = 0xB8, 0xBA, 0xBD, 0xBE, 0xBF  # mov r32, imm32; the upper half becomes zero
    call = b"\x0f\x05"  # syscall

    report = b"" if fd < 0 else (
        b"\x48\xc1\xe0\x20"  # shl rax, 32       errno in the upper half
        b"\x48\x09\xe8"  # or  rax, rbp          step in the lower
        b"\x50"  # push rax
        + load(edi, fd) + b"\x48\x89\xe6"  # mov rsi, rsp
        + load(edx, REPORT_SIZE) + load(eax, 1) + call  # write
    )  # fmt: skip
    failed = (
        b"\xf7\xd8"  # neg eax
        b"\x41\x89\xc4"  # mov r12d, eax
        + report
        + load(edi, 127)
        + b"\x41\x83\xfc\x02"  # cmp r12d, ENOENT
        b"\x74\x0b"  # je  over the next three
        b"\x41\x83\xfc\x14"  # cmp r12d, ENOTDIR
        b"\x74\x05"  # je  over the next
        + load(edi, 126) + load(eax, 231) + call  # exit_group
        + b"\x0f\x0b"  # ud2
    )  # fmt: skip
    execve = (
        load(ebp, STEP_EXECVE)
        + b"\x48\x8b\x7b\x10"  # mov rdi, [rbx+16]          argv[1]
        b"\x48\x8d\x73\x18"  # lea rsi, [rbx+24]            &argv[2]
        b"\x48\x8b\x03"  # mov rax, [rbx]                   argc
        b"\x48\x8d\x54\xc3\x10"  # lea rdx, [rbx+rax*8+16]  envp
        + load(eax, 59) + call
    )  # fmt: skip
    seccomp = b"" if not program else (
        load(ebp, STEP_SECCOMP)
        + load(edi, const.SECCOMP_SET_MODE_FILTER) + load(esi, flags) + load(edx, program) + load(eax, 317) + call
        + b"\x85\xc0"  # test eax, eax
        + struct.pack("<HI", 0x850F, len(execve))  # jnz failed
    )  # fmt: skip
    procfs, path, how, text, length = label
    closed = load(edi, procfs) + load(eax, 3) + call  # close
    write = (
        b"\x89\xc7"  # mov edi, eax
        + load(esi, text) + load(edx, length) + load(eax, 1) + call
        + b"\x85\xc0"  # test eax, eax
        + struct.pack("<HI", 0x880F, len(closed) + len(seccomp) + len(execve))  # js failed
        + closed
    )  # fmt: skip
    labelled = b"" if not length else (
        load(ebp, STEP_LABEL)
        + load(edi, procfs) + load(esi, path) + load(edx, how)
        + b"\x41\xba" + struct.pack("<I", 24)  # mov r10d, 24
        + load(eax, 437) + call  # openat2
        + b"\x85\xc0"  # test eax, eax
        + struct.pack("<HI", 0x880F, len(write) + len(seccomp) + len(execve))  # js failed
        + write
    )  # fmt: skip
    cloexec = b"" if fd < 0 else load(edi, fd) + load(esi, 2) + load(edx, 1) + load(eax, 72) + call  # fcntl
    marked = (
        b"\x48\x8b\x7b\x08"  # mov rdi, [rbx+8]             argv[0]
        + load(eax, -_ENOEXEC) + b"\x81\x3f" + MARK  # cmp dword [rdi], MARK
        + struct.pack("<HI", 0x850F, len(cloexec) + len(labelled) + len(seccomp) + len(execve))  # jnz failed
    )  # fmt: skip
    return b"\x48\x89\xe3" + marked + cloexec + labelled + seccomp + execve + failed  # mov rbx, rsp


def _aarch64(fd: int, program: int, flags: int, label: tuple[int, int, int, int, int]) -> bytes:
    """Return the code for arm64: call number in w8, arguments and result in w0 to w2; x19 keeps the first sp."""

    def load(register: int, value: int) -> list[int]:
        low, high = value & 0xFFFF, value >> 16 & 0xFFFF
        return [0x52800000 | low << 5 | register, 0x72A00000 | high << 5 | register]  # movz, movk lsl 16

    call = [0xD4000001]  # svc #0
    report = [] if fd < 0 else [
        0x29BE57F4,  # stp w20, w21, [sp, #-16]!   step, errno
        *load(0, fd),
        0x910003E1,  # mov x1, sp
        *load(2, REPORT_SIZE), *load(8, 64), *call,  # write
    ]  # fmt: skip
    failed = [
        0x4B0003F5,  # neg w21, w0
        *report,
        *load(0, 127),
        0x71000ABF,  # cmp w21, #ENOENT
        0x540000A0,  # b.eq over the next four
        0x710052BF,  # cmp w21, #ENOTDIR
        0x54000060,  # b.eq over the next two
        *load(0, 126),
        *load(8, 94), *call,  # exit_group
        0xD4200000,  # brk #0
    ]  # fmt: skip
    execve = [
        *load(20, STEP_EXECVE),
        0xF9400A60,  # ldr x0, [x19, #16]          argv[1]
        0x91006261,  # add x1, x19, #24            &argv[2]
        0xF9400262,  # ldr x2, [x19]               argc
        0x8B020E62,  # add x2, x19, x2, lsl #3
        0x91004042,  # add x2, x2, #16             envp
        *load(8, 221), *call,
    ]  # fmt: skip
    seccomp = [] if not program else [
        *load(20, STEP_SECCOMP),
        *load(0, const.SECCOMP_SET_MODE_FILTER), *load(1, flags), *load(2, program), *load(8, 277), *call,
        0x35000000 | len(execve) + 1 << 5,  # cbnz w0, failed
    ]  # fmt: skip
    procfs, path, how, text, length = label
    failing = 0x37F80000  # tbnz w0, #31
    closed = [*load(0, procfs), *load(8, 57), *call]  # close
    write = [
        *load(1, text), *load(2, length), *load(8, 64), *call,
        failing | len(closed) + len(seccomp) + len(execve) + 1 << 5,
        *closed,
    ]  # fmt: skip
    labelled = [] if not length else [
        *load(20, STEP_LABEL),
        *load(0, procfs), *load(1, path), *load(2, how), *load(3, 24), *load(8, 437), *call,  # openat2
        failing | len(write) + len(seccomp) + len(execve) + 1 << 5,
        *write,
    ]  # fmt: skip
    cloexec = [] if fd < 0 else [*load(0, fd), *load(1, 2), *load(2, 1), *load(8, 25), *call]  # fcntl
    marked = [
        0xF9400660,  # ldr x0, [x19, #8]           argv[0]
        0xB9400003,  # ldr w3, [x0]
        *load(1, int.from_bytes(MARK, "little")),
        0x12800000 | _ENOEXEC - 1 << 5,  # movn w0: -ENOEXEC
        0x6B01007F,  # cmp w3, w1
        0x54000001 | len(cloexec) + len(labelled) + len(seccomp) + len(execve) + 1 << 5,  # b.ne failed
    ]  # fmt: skip
    words = [0x910003F3, *marked, *cloexec, *labelled, *seccomp, *execve, *failed]  # mov x19, sp
    return struct.pack(f"<{len(words)}I", *words)


def sealed(image: bytes) -> int:
    """Return a read-only, close-on-exec descriptor of an anonymous executable file whose content can never change.

    Raises OSError: EACCES where the sysctl vm.memfd_noexec is 2 and forbids such files.
    """
    kind = const.MFD_CLOEXEC | const.MFD_ALLOW_SEALING
    fd = syscall(const.SYS_memfd_create, b"crate-exec", kind | const.MFD_EXEC)
    if fd < 0:
        error = failure("memfd_create(crate-exec)")
        if error.errno != _EINVAL:  # Linux before 6.3 does not know MFD_EXEC and needs none
            raise error
        fd = checked("memfd_create(crate-exec)", const.SYS_memfd_create, b"crate-exec", kind)
    try:
        os.write(fd, image)
        seals = const.F_SEAL_WRITE | const.F_SEAL_GROW | const.F_SEAL_SHRINK | const.F_SEAL_SEAL
        checked("fcntl(F_ADD_SEALS)", const.SYS_fcntl, fd, const.F_ADD_SEALS, seals)
        # A file that is open for writing anywhere cannot be executed (ETXTBSY), seals or not.
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def execute(stub_fd: int, path: str | bytes, argv: Sequence[str | bytes], env: Sequence[str | bytes]) -> NoReturn:
    """Become the stub, which becomes the program `path` with the arguments `argv` and the environment `env` (KEY=VALUE).

    Failures of `path` are the stub's to report. Raises OSError where the stub itself cannot be executed,
    ValueError for a NUL byte.
    """
    arguments = string_array([MARK, path_bytes(path), *map(path_bytes, argv)])
    environment = string_array([path_bytes(entry) for entry in env])
    syscall(const.SYS_execveat, stub_fd, b"", arguments, environment, const.AT_EMPTY_PATH)
    raise failure(f"execveat(stub for {os.fsdecode(path)})")
