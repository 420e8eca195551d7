"""The sealed stub: it executes what it was told, says what went wrong, and nobody can write to it."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from cratebox.linux import const, mount, namespaces, stub
from cratebox.linux._libc import syscall

REPORT = 300  # the descriptor that the stub reports to
ALLOW, ERRNO_EPERM = 0x7FFF0000, 0x00050000 | errno.EPERM
SYS_UNAME = {"x86_64": 63, "aarch64": 160}[const.MACHINE]
NO_UNAME = b"".join(
    struct.pack("<HBBI", *instruction)
    for instruction in (
        (0x20, 0, 0, 0),  # load the call's number
        (0x15, 0, 1, SYS_UNAME),  # is it uname?
        (0x06, 0, 0, ERRNO_EPERM),
        (0x06, 0, 0, ALLOW),
    )
)


def run(path, argv, env=(), *, bpf=b"", no_new_privs=True, before=None, label=None):
    """Execute through the stub in a child; return (what the report pipe gave, the exit code, standard output)."""
    report_read, report_write = os.pipe()
    output_read, output_write = os.pipe()
    stub_fd = stub.sealed(stub.build(REPORT, bpf, label=label))
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(report_write, REPORT)  # inheritable: only the stub closes it
            os.dup2(output_write, 1)
            if no_new_privs:
                syscall(const.SYS_prctl, const.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            if before:
                before()
            stub.execute(stub_fd, path, argv, env)
        finally:
            os._exit(99)
    for fd in (report_write, output_write, stub_fd):
        os.close(fd)
    with os.fdopen(report_read, "rb") as report, os.fdopen(output_read, "rb") as output:
        told, printed = report.read(), output.read()
    return told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), printed.decode()


def test_the_stub_becomes_the_program_with_its_arguments_and_environment():
    told, code, printed = run("/bin/sh", ["named", "-c", 'echo "$0 $1 $X"; exit 7', "zero", "one two"], ["X=a=b"])
    assert (code, printed) == (7, "zero one two a=b\n")
    assert told == b"", "success must be an end of file"


def test_the_first_argument_is_independent_of_the_path():
    _, _, printed = run("/bin/cat", ["another-name", "/proc/self/cmdline"])
    assert printed == "another-name\0/proc/self/cmdline\0"


def test_the_report_descriptor_is_closed_in_the_program():
    program = f"import os\ntry: os.fstat({REPORT}); print('open')\nexcept OSError: print('closed')"
    assert run(sys.executable, ["python", "-I", "-S", "-c", program])[2] == "closed\n"


def test_an_empty_environment_stays_empty():
    assert run("/usr/bin/env", ["env"])[2] == ""


def test_a_program_that_is_not_there_is_reported_and_ends_with_127():
    told, code, _ = run("/no/such/program", ["x"])
    assert struct.unpack("<ii", told) == (stub.STEP_EXECVE, errno.ENOENT)
    assert code == 127


def test_a_path_through_a_file_ends_with_127():
    told, code, _ = run("/etc/passwd/x", ["x"])
    assert struct.unpack("<ii", told) == (stub.STEP_EXECVE, errno.ENOTDIR)
    assert code == 127


def test_a_directory_is_reported_and_ends_with_126():
    told, code, _ = run("/etc", ["x"])
    assert struct.unpack("<ii", told) == (stub.STEP_EXECVE, errno.EACCES)
    assert code == 126


def test_a_file_that_is_no_program_is_reported_and_ends_with_126(tmp_path):
    odd = tmp_path / "odd"
    odd.write_bytes(b"\0\1\2\3")
    odd.chmod(0o755)
    told, code, _ = run(str(odd), ["odd"])
    assert struct.unpack("<ii", told) == (stub.STEP_EXECVE, errno.ENOEXEC)
    assert code == 126


def test_without_a_report_descriptor_the_exit_code_still_tells():
    fd = stub.sealed(stub.build(-1))
    pid = os.fork()
    if pid == 0:
        stub.execute(fd, "/no/such/program", ["x"], [])
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 127


def test_the_embedded_filter_holds_in_the_program():
    script = "import os\ntry: os.uname(); print('allowed')\nexcept PermissionError: print('refused')"
    told, code, printed = run(sys.executable, ["python", "-I", "-S", "-c", script], bpf=NO_UNAME)
    assert (told, code, printed) == (b"", 0, "refused\n")


def test_a_filter_the_kernel_refuses_is_reported_as_the_seccomp_step():
    told, code, printed = run("/bin/echo", ["echo", "ran"], bpf=struct.pack("<HBBI", 0xFFFF, 0, 0, 0))
    assert struct.unpack("<ii", told) == (stub.STEP_SECCOMP, errno.EINVAL)
    assert (code, printed) == (126, ""), "without its filter the program must not run"


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping to another uid needs root")
def test_a_filter_without_no_new_privs_and_privilege_is_refused():
    def to_nobody():
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)

    told, code, _ = run("/bin/true", ["true"], bpf=NO_UNAME, no_new_privs=False, before=to_nobody)
    assert struct.unpack("<ii", told) == (stub.STEP_SECCOMP, errno.EACCES)
    assert code == 126


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping to another uid needs root")
def test_another_user_can_execute_the_stub():
    def to_nobody():
        os.setgroups([])
        os.setresuid(65534, 65534, 65534)

    assert run("/usr/bin/id", ["id", "-u"], before=to_nobody)[2] == "65534\n"


PROC = 301  # the descriptor of a procfs


def _with_proc(path="/proc"):
    def before():
        os.dup2(os.open(path, os.O_PATH | os.O_DIRECTORY), PROC)

    return before


@pytest.mark.parametrize("bpf", [b"", NO_UNAME])
def test_what_the_stub_writes_is_written_by_itself_and_its_procfs_is_closed(bpf):
    """The score of the OOM killer stands for a label: every kernel has it, and execve(2) keeps it."""
    label = stub.LabelWrite(procfs=PROC, path="thread-self/oom_score_adj", text="321")
    script = f"cat /proc/self/oom_score_adj; test -e /proc/self/fd/{PROC} || echo closed"
    told, code, printed = run("/bin/sh", ["sh", "-c", script], bpf=bpf, before=_with_proc(), label=label)
    assert (told, code, printed) == (b"", 0, "321\nclosed\n")


@pytest.mark.parametrize(
    ("path", "text", "number"),
    [
        ("thread-self/no_such_thing", "1", errno.ENOENT),
        ("thread-self/oom_score_adj", "junk", errno.EINVAL),
        ("../etc/passwd", "1", errno.EXDEV),
        ("thread-self/exe", "1", errno.ELOOP),
    ],
)
def test_a_label_that_cannot_be_written_keeps_the_program_from_running(path, text, number):
    label = stub.LabelWrite(procfs=PROC, path=path, text=text)
    told, code, printed = run("/bin/echo", ["echo", "ran"], before=_with_proc(), label=label)
    assert struct.unpack("<ii", told) == (stub.STEP_LABEL, number)
    assert (code, printed) == (127 if number == errno.ENOENT else 126, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_what_is_mounted_over_the_file_catches_no_label(tmp_path):
    """A write of ours that ends in another file leaves the process without its label (CVE-2019-16884)."""
    decoy = tmp_path / "decoy"
    decoy.write_text("as it was")

    def before():
        namespaces.unshare(const.CLONE_NEWNS)
        mount.mount("none", "/", "", const.MS_REC | const.MS_PRIVATE)
        mount.mount(str(decoy), f"/proc/{os.getpid()}/oom_score_adj", "", const.MS_BIND)
        _with_proc()()

    label = stub.LabelWrite(procfs=PROC, path="self/oom_score_adj", text="321")
    told, _, printed = run("/bin/echo", ["echo", "ran"], before=before, label=label)
    assert struct.unpack("<ii", told) == (stub.STEP_LABEL, errno.EXDEV)
    assert (printed, decoy.read_text()) == ("", "as it was")


def test_the_stub_cannot_be_changed_by_anybody_who_reaches_it():
    fd = stub.sealed(stub.build(-1))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"x")
    again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
    try:
        with pytest.raises(PermissionError):
            os.write(again, b"x")
        with pytest.raises(PermissionError):
            os.ftruncate(again, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(again, 1 << 20)
    finally:
        os.close(again)
        os.close(fd)


def test_a_script_whose_interpreter_is_its_own_executable_gets_the_stub_and_not_python(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    image = stub.build(-1)
    fd = stub.sealed(image)
    pid = os.fork()
    if pid == 0:
        stub.execute(fd, str(script), ["script"], [])
    # Python would take the script's path as a program of its own and fail with 1 or 2; the stub knows that it was not crate
    # that called it.
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 126
    os.close(fd)


def test_nobody_can_write_to_the_stub():
    image = stub.build(-1)
    fd = stub.sealed(image)
    with pytest.raises(OSError) as refused:  # noqa: PT012
        writable = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
        os.write(writable, b"x")
    assert refused.value.errno in (errno.ETXTBSY, errno.EPERM, errno.EACCES)
    assert Path(f"/proc/self/fd/{fd}").read_bytes() == image
    os.close(fd)


def test_the_same_stub_can_be_executed_again_and_again():
    fd = stub.sealed(stub.build(-1))
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            stub.execute(fd, "/bin/true", ["true"], [])
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)


def test_a_nul_byte_in_an_argument_is_refused_instead_of_cutting_it():
    with pytest.raises(ValueError, match="NUL"):
        stub.execute(-1, "/bin/true", ["true\0x"], [])


def test_executing_what_is_no_stub_raises_and_names_the_program():
    with pytest.raises(OSError, match="stub for /bin/true"):
        stub.execute(-1, "/bin/true", ["true"], [])


def test_a_filter_that_is_no_array_of_instructions_is_refused():
    with pytest.raises(ValueError, match="7 bytes"):
        stub.build(3, b"1234567")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("bpf", [b"", NO_UNAME])
def test_no_segment_is_writable_and_executable_and_the_stack_is_not_executable(machine, bpf):
    image = stub.build(5, bpf, machine=machine)
    segments = [struct.unpack_from("<IIQQQQQQ", image, 64 + 56 * n) for n in range(2)]
    assert [(kind, flags) for kind, flags, *_ in segments] == [(1, 5), (0x6474E551, 6)]
    assert segments[0][5] == segments[0][6] == len(image)
    assert struct.unpack_from("<HH", image, 16) == (2, {"x86_64": 62, "aarch64": 183}[machine])


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_lies_where_the_program_points_to(machine):
    image = stub.build(5, NO_UNAME, machine=machine)
    count, address = struct.unpack_from("<HxxxxxxQ", image, len(image) - len(NO_UNAME) - 16)
    assert count == len(NO_UNAME) // 8
    assert image[address - 0x400000 :] == NO_UNAME


QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")


def _with_openat(image):
    """qemu 7.2 has no openat2 (437): openat (56) with the same flags stands in for it, in the test alone."""

    def load(register, value):
        low, high = value & 0xFFFF, value >> 16
        return struct.pack("<II", 0x52800000 | low << 5 | register, 0x72A00000 | high << 5 | register)

    at = image.index(load(8, 437))
    return image[: at - 16] + load(2, os.O_WRONLY | os.O_CLOEXEC) + image[at - 8 : at] + load(8, 56) + image[at + 8 :]


@pytest.mark.skipif(QEMU is None, reason="qemu-aarch64-static is not installed")
@pytest.mark.parametrize(
    ("mark", "arguments", "bpf", "code", "report", "label"),
    [
        (stub.MARK, ["/bin/sh", "sh", "-c", "exit 7"], b"", 7, None, None),
        (stub.MARK, ["/no/such", "x"], b"", 127, (stub.STEP_EXECVE, errno.ENOENT), None),
        (stub.MARK, ["/etc", "x"], b"", 126, (stub.STEP_EXECVE, errno.EACCES), None),
        (stub.MARK, ["/bin/true", "x"], NO_UNAME, 126, (stub.STEP_SECCOMP, None), None),  # qemu has no seccomp(2): some error
        (b"/proc/self/exe", ["/script"], b"", 126, (0, errno.ENOEXEC), None),
        (stub.MARK, ["/bin/sh", "sh", "-c", "exit $(cat /proc/self/oom_score_adj)"], b"", 77, None, ("oom_score_adj", "77")),
        (stub.MARK, ["/bin/true", "x"], b"", 127, (stub.STEP_LABEL, errno.ENOENT), ("no_such_thing", "77")),
        (stub.MARK, ["/bin/true", "x"], b"", 126, (stub.STEP_LABEL, errno.EINVAL), ("oom_score_adj", "junk")),
    ],
)
def test_the_arm64_stub_does_the_same(tmp_path, mark, arguments, bpf, code, report, label):
    read_end, write_end = os.pipe()
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    written = stub.LabelWrite(procfs=proc, path=f"thread-self/{label[0]}", text=label[1]) if label else None
    image = tmp_path / "stub"
    built = stub.build(write_end, bpf, machine="aarch64", label=written)
    image.write_bytes(_with_openat(built) if label else built)
    image.chmod(0o755)
    done = subprocess.run([QEMU, "-0", os.fsdecode(mark), str(image), *arguments], pass_fds=[write_end, proc])
    os.close(write_end)
    os.close(proc)
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    assert done.returncode == code
    if report is None:
        assert told == b""
    else:
        step, number = struct.unpack("<ii", told)
        assert (step, report[1] or number) == (report[0], number)
