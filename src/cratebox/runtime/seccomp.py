"""The seccomp filter of a container: which, from where, and kept so that it is compiled once.

A compiled filter lies in the cache directory under a name made of all that it depends on. When it is there, neither the
profile is built nor ctypes and libseccomp are loaded: reading it costs less than 0.1 ms, compiling about 20.
"""

from __future__ import annotations

import os

from cratebox.errors import InvalidValue, StorageError
from cratebox.linux import const
from cratebox.paths import private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cratebox.runtime.spec import Seccomp

PROFILE_VERSION = 1  # of seccomp_default.py: one more with every change there
_COMPILER_VERSION = 1  # of seccomp_compile.py: one more with every change of what it makes
_BPF_MAXINSNS = 4096
_SUM = 8  # bytes, behind the filter
_PRIME = 2**61 - 1

# What the default profile asks about, in the order of the bits in a filter's name.
_DECIDING = (
    "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_MODULE", "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_SYS_NICE", "CAP_SYSLOG", "CAP_BPF",
    "CAP_PERFMON",
)  # fmt: skip


def default_profile(caps: frozenset[str], machine: str = const.MACHINE, socketcall: bool = False) -> Seccomp:
    """Return crate's default profile as OCI linux.seccomp for a container whose bounding set is `caps` ("CAP_...").

    `socketcall` is for images of 32-bit x86: see seccomp_default.py.
    """
    from cratebox.runtime import seccomp_default

    return seccomp_default.default_profile(caps, machine, socketcall)


def default_filter(cache_dir: str, caps: frozenset[str], socketcall: bool = False) -> tuple[bytes, int]:
    """Return (struct sock_filter[], flags for seccomp(2)) of the default profile, from the cache or compiled.

    The profile is built only when the cache has no filter of it. Raises as `compile_filter`.
    """
    mask = sum(1 << bit for bit, name in enumerate(_DECIDING) if name in caps)
    name = f"default-{PROFILE_VERSION}-{mask:x}{'-socketcall' if socketcall else ''}"
    program = _cached(cache_dir, name, lambda: default_profile(caps, const.MACHINE, socketcall))
    return program, const.SECCOMP_FILTER_FLAG_SPEC_ALLOW


def cached_filter(cache_dir: str, seccomp: Seccomp) -> tuple[bytes, int]:
    """Return (struct sock_filter[], flags for seccomp(2)) of an OCI linux.seccomp, from the cache or compiled.

    Raises InvalidValue for a profile that is none, and as `compile_filter`.
    """
    name = "profile-" + _digest(seccomp)
    program = _cached(cache_dir, name, lambda: seccomp)
    return program, _flags(seccomp)


def compile_filter(seccomp: Seccomp) -> tuple[bytes, int]:
    """Return (struct sock_filter[], flags for seccomp(2)) of an OCI linux.seccomp, compiled by libseccomp.

    Raises InvalidValue for a profile that is none; Unsupported where libseccomp is missing or too old.
    """
    from cratebox.runtime import seccomp_compile

    return seccomp_compile.compile_filter(seccomp)


def resolve_profile(parsed: Any, caps: frozenset[str], machine: str = const.MACHINE) -> Seccomp:
    """Return the OCI linux.seccomp of a parsed profile file in Docker's or OCI's form. Raises InvalidValue."""
    from cratebox.runtime import seccomp_profile

    return seccomp_profile.resolve_profile(parsed, caps, machine)


def load_profile(path: str, caps: frozenset[str], machine: str = const.MACHINE) -> Seccomp:
    """Read the profile file `path` (at most 4 MiB of JSON) and return it as OCI linux.seccomp. Raises InvalidValue."""
    return parse_profile(read_profile(path), path, caps, machine)


def read_profile(path: str) -> bytes:
    """Return what is in the profile file `path`, at most 4 MiB. Raises InvalidValue."""
    limit = 4 << 20
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            if os.fstat(fd).st_mode & 0o170000 != 0o100000:
                raise InvalidValue(f"seccomp profile {path!r}: not a regular file")
            with open(fd, "rb", closefd=False) as file:
                text = file.read(limit + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise InvalidValue(f"seccomp profile {path!r}: {error.strerror}") from None
    if len(text) > limit:
        raise InvalidValue(f"seccomp profile {path!r}: larger than 4 MiB")
    return text


def parse_profile(text: bytes, path: str, caps: frozenset[str], machine: str = const.MACHINE) -> Seccomp:
    """Return the profile that was read from `path` as OCI linux.seccomp. Raises InvalidValue."""
    from cratebox import jsontext

    try:
        return resolve_profile(jsontext.loads(text), caps, machine)
    except jsontext.JSONError as error:
        raise InvalidValue(f"seccomp profile {path!r}: {error}") from None


def _digest(seccomp: Seccomp) -> str:
    from cratebox import document, jsontext

    try:
        from _blake2 import blake2b  # hashlib imports OpenSSL, which costs milliseconds
    except ImportError:
        from hashlib import blake2b

    return blake2b(jsontext.dumps(document.encode(seccomp)).encode(), digest_size=20).hexdigest()


def _flags(seccomp: Seccomp) -> int:
    if not seccomp.flags and not any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls):
        return const.SECCOMP_FILTER_FLAG_SPEC_ALLOW
    from cratebox.runtime import seccomp_compile

    return seccomp_compile.filter_flags(seccomp)


def _cached(cache_dir: str, name: str, profile: Callable[[], Seccomp]) -> bytes:
    """Return the filter `name` from the cache, else compile it and keep it there, if that can be done."""
    try:
        private_directory(cache_dir)
        path = f"{cache_dir}/seccomp-{name}-{_COMPILER_VERSION}-{const.MACHINE}-{os.uname().release.replace('/', '_')}"
    except StorageError:
        return compile_filter(profile())[0]  # a cache that cannot be trusted or made is none
    program = _read(path)
    if program is None:
        program = compile_filter(profile())[0]
        _write(path, program)
    return program


def _checksum(program: bytes) -> bytes:
    """Return a sum that tells damage, not intent: nobody else can write there. Computed without importing anything."""
    return (int.from_bytes(b"filter" + program, "big") % _PRIME).to_bytes(_SUM, "little")


def _read(path: str) -> bytes | None:
    """Return the filter in the file `path`; None where there is none, it is damaged, or it is not our own."""
    most = 8 * _BPF_MAXINSNS + _SUM
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
        regular = info.st_mode & 0o170000 == 0o100000
        if not regular or info.st_uid != os.geteuid() or info.st_mode & 0o022 or info.st_size > most:
            return None
        data = os.read(fd, most)
    except OSError:
        return None
    finally:
        os.close(fd)
    program, expected = data[:-_SUM], data[-_SUM:]
    return program if program and not len(program) % 8 and _checksum(program) == expected else None


def _write(path: str, program: bytes) -> None:
    """Replace the file `path`, whole or not at all. That it cannot be written (a full disk) is no reason not to run."""
    new = f"{path}.{os.getpid()}.new"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return
    try:
        try:
            os.write(fd, program + _checksum(program))  # cut short by a full disk, the sum tells
        finally:
            os.close(fd)
        os.rename(new, path)
    except OSError:
        try:
            os.unlink(new)
        except OSError:
            pass
