"""The cache of compiled filters: read without loading anything, rebuilt where damaged, never needed."""

from __future__ import annotations

import os
import subprocess
import sys

import bpf_machine
import pytest

from cratebox.errors import CrateError, InvalidValue, Unsupported
from cratebox.runtime import seccomp, seccomp_compile
from cratebox.runtime.spec import Seccomp, Syscall

CAPS = frozenset({"CAP_KILL"})


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


@pytest.fixture
def compilations(monkeypatch):
    """Count how often libseccomp was asked."""
    calls = []
    real = seccomp.compile_filter
    monkeypatch.setattr(seccomp, "compile_filter", lambda profile: calls.append(1) or real(profile))
    return calls


def only_file(cache):
    (name,) = os.listdir(cache)
    return f"{cache}/{name}"


def test_a_filter_is_compiled_once(cache, compilations):
    first = seccomp.default_filter(cache, CAPS)
    assert seccomp.default_filter(cache, CAPS) == first
    assert len(compilations) == 1
    bpf_machine.check(bpf_machine.load(first[0]))


def test_the_default_filter_is_that_of_the_default_profile(cache):
    assert seccomp.default_filter(cache, CAPS) == seccomp.compile_filter(seccomp.default_profile(CAPS))


def test_capabilities_that_make_no_difference_share_a_filter(cache, compilations):
    seccomp.default_filter(cache, frozenset())
    seccomp.default_filter(cache, CAPS)
    assert len(compilations) == 1


def test_capabilities_that_make_a_difference_have_filters_of_their_own(cache, compilations):
    assert seccomp.default_filter(cache, frozenset({"CAP_SYS_ADMIN"})) != seccomp.default_filter(cache, CAPS)
    assert len(compilations) == 2


def test_profiles_are_kept_by_their_content(cache, compilations):
    profile, other = (
        Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=(Syscall(names=(name,), action="SCMP_ACT_ERRNO"),))
        for name in ("sync", "syncfs")
    )
    first, second = seccomp.cached_filter(cache, profile), seccomp.cached_filter(cache, other)
    assert first != second
    assert seccomp.cached_filter(cache, profile) == first
    assert len(compilations) == 2


def test_flags_come_from_the_profile(cache):
    profile = Seccomp(default_action="SCMP_ACT_ALLOW", flags=("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"))
    assert [seccomp.cached_filter(cache, profile)[1] for _ in range(2)] == [3, 3]


def test_only_the_owner_can_read_the_cache(cache):
    seccomp.default_filter(cache, CAPS)
    assert os.stat(cache).st_mode & 0o777 == 0o700
    assert os.stat(only_file(cache)).st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:8],
        lambda data: data[:-8],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 16 * 8],
        lambda data: bytes(len(data)),
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
        lambda data: data + bytes(8),
        lambda data: bytes(8 * 5000),
    ],
)
def test_a_damaged_filter_is_made_again(cache, compilations, damage):
    good = seccomp.default_filter(cache, CAPS)
    path = only_file(cache)
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(damage(data))
    assert seccomp.default_filter(cache, CAPS) == good
    assert len(compilations) == 2
    with open(path, "rb") as file:
        assert file.read() == data


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_filter_that_belongs_to_somebody_else_is_not_used(cache, compilations):
    seccomp.default_filter(cache, CAPS)
    os.chown(only_file(cache), 65534, 65534)
    seccomp.default_filter(cache, CAPS)
    assert len(compilations) == 2


def test_a_filter_that_others_can_write_to_is_not_used(cache, compilations):
    seccomp.default_filter(cache, CAPS)
    os.chmod(only_file(cache), 0o602)
    seccomp.default_filter(cache, CAPS)
    assert len(compilations) == 2


def test_a_link_in_the_cache_is_not_followed(cache, compilations, tmp_path):
    seccomp.default_filter(cache, CAPS)
    path = only_file(cache)
    os.rename(path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", path)
    seccomp.default_filter(cache, CAPS)
    assert len(compilations) == 2


def test_without_a_cache_it_works_all_the_same(tmp_path, compilations):
    (tmp_path / "file").write_text("")
    program, _ = seccomp.default_filter(str(tmp_path / "file" / "cache"), CAPS)
    assert program
    assert len(compilations) == 1


def test_a_full_disk_leaves_nothing_behind(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert seccomp.default_filter(cache, CAPS)[0]
    assert os.listdir(cache) == []


def test_a_profile_that_is_none_is_not_kept(cache):
    with pytest.raises(InvalidValue):
        seccomp.cached_filter(cache, Seccomp(default_action="SCMP_ACT_JUNK"))
    assert not os.path.exists(cache) or os.listdir(cache) == []


def test_without_libseccomp_the_error_says_what_to_install(monkeypatch):
    def missing(*_args, **_options):
        raise OSError("libseccomp.so.2: cannot open shared object file")

    monkeypatch.setattr(seccomp_compile.ctypes, "CDLL", missing)
    with pytest.raises(Unsupported) as refused:
        seccomp.compile_filter(seccomp.default_profile(CAPS))
    assert "libseccomp2" in refused.value.hint


def test_every_error_is_one_line():
    for wrong in ({"defaultAction": "a\nb"}, {"defaultAction": "SCMP_ACT_ALLOW", "x\ny": 1}):
        with pytest.raises(CrateError) as refused:
            seccomp.resolve_profile(wrong, CAPS)
        assert "\n" not in refused.value.message


def test_reading_the_cache_loads_neither_ctypes_nor_the_profile(cache):
    seccomp.default_filter(cache, CAPS)
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); from cratebox.runtime import seccomp;"
        "assert seccomp.default_filter(sys.argv[1], frozenset({'CAP_KILL'}))[0];"
        "heavy = {'ctypes', '_ctypes', 'json', 're', 'hashlib', 'typing', 'cratebox.runtime.seccomp_default',"
        " 'cratebox.runtime.seccomp_compile', 'cratebox.runtime.seccomp_profile'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    source = os.path.dirname(os.path.dirname(os.path.dirname(seccomp.__file__)))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, cache, source], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
