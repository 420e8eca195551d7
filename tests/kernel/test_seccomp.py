"""The default filter in a real kernel: what it refuses is refused."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import socket
import struct
import threading

import pytest

from cratebox.errors import Unsupported
from cratebox.linux import const
from cratebox.linux._libc import buffer, syscall
from cratebox.runtime import seccomp

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="makes calls by their x86-64 numbers")

CAPS = frozenset({"CAP_KILL", "CAP_SYS_CHROOT"})


@pytest.fixture(scope="module")
def default():
    try:
        return seccomp.compile_filter(seccomp.default_profile(CAPS))
    except Unsupported as missing:
        pytest.skip(missing.message)


def load(program, flags):
    address = buffer(len(program))
    address.raw = program
    fprog = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(address))
    syscall(const.SYS_prctl, const.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    assert syscall(const.SYS_seccomp, const.SECCOMP_SET_MODE_FILTER, flags, fprog) == 0


def under(loaded, action):
    """Run `action` in a child below the filter; return what it returned, an int from 0 to 255, or minus a signal."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            load(*loaded)
            code = action()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def errno_of(number, *arguments):
    """Return what the call's errno is, 0 where it succeeds."""
    from cratebox.linux._libc import get_errno

    return lambda: get_errno() if syscall(number, *arguments) == -1 else 0


@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [
        ("io_uring_setup", 425, (1,)),
        ("userfaultfd", 323, (0,)),
        ("keyctl", 250, (0,)),
        ("add_key", 248, ()),
        ("request_key", 249, ()),
        ("bpf", 321, ()),
        ("perf_event_open", 298, ()),
        ("mount", 165, ()),
        ("unshare", 272, (const.CLONE_NEWUSER,)),
        ("setns", 308, (-1, 0)),
        ("open_by_handle_at", 304, ()),
        ("kexec_load", 246, ()),
        ("personality", 135, (0x0040000,)),
        ("socket(AF_ALG)", 41, (38, 5, 0)),
        ("socket(AF_VSOCK)", 41, (40, 1, 0)),
        ("clone(CLONE_NEWUSER)", 56, (const.CLONE_NEWUSER | 17, 0)),
    ],
)
def test_the_kernel_refuses_the_call(default, name, number, arguments):
    assert under(default, errno_of(number, *arguments)) == errno.EPERM


def test_clone3_is_said_not_to_exist(default):
    assert under(default, errno_of(const.SYS_clone3, b"", 0)) == errno.ENOSYS


def test_a_call_of_the_future_is_said_not_to_exist(default):
    assert under(default, errno_of(900)) == errno.ENOSYS


def test_an_x32_call_ends_the_process(default):
    assert under(default, errno_of(0x40000000 | 39)) == -signal.SIGSYS


def test_sockets_threads_and_programs_work_below_the_filter(default):
    def work():
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(1))
        thread.start()
        thread.join()
        assert seen == [1]
        os.execv("/bin/sh", ["sh", "-c", "true && test $(echo a | tr a b) = b"])

    assert under(default, work) == 0
