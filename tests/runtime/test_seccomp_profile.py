"""Profile files: Docker's conditions are answered, and what is not understood is refused."""

from __future__ import annotations

import json
import os

import bpf_machine
import pytest

from cratebox import document
from cratebox.errors import InvalidValue
from cratebox.runtime import seccomp
from cratebox.runtime.spec import Seccomp

CAPS = frozenset({"CAP_KILL", "CAP_SYS_CHROOT"})


def resolved(*rules, machine="x86_64", **fields):
    profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **fields}
    return document.encode(seccomp.resolve_profile(profile, CAPS, machine))


def rule(**fields):
    return {"names": ["read"], "action": "SCMP_ACT_ALLOW", **fields}


def names(profile):
    return [name for rule in profile.get("syscalls", ()) for name in rule["names"]]


def test_the_architectures_are_those_of_this_machine_in_the_map():
    arch_map = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ]
    assert resolved(archMap=arch_map, machine="aarch64")["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]


def test_an_old_profile_with_name_is_read():
    assert names(resolved({"name": "read", "action": "SCMP_ACT_ALLOW"})) == ["read"]


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ({}, True),
        ({"includes": {}, "excludes": {}}, True),
        ({"includes": {"caps": ["CAP_KILL"]}}, True),
        ({"includes": {"caps": ["CAP_KILL", "CAP_SYS_ADMIN"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN", "CAP_KILL"]}}, False),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["s390x"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "99.0"}}, False),
        ({"excludes": {"minKernel": "4.8"}}, False),
        ({"includes": {"caps": ["CAP_KILL"], "arches": ["s390x"]}}, False),
        ({"includes": {"caps": ["CAP_KILL"]}, "excludes": {"arches": ["amd64"]}}, False),
    ],
)
def test_conditions_decide_whether_a_rule_counts(conditions, kept):
    assert bool(names(resolved(rule(**conditions)))) is kept


def test_the_kernels_own_version_counts_as_reached():
    release = ".".join(os.uname().release.split(".")[:2])
    assert names(resolved(rule(includes={"minKernel": release}))) == ["read"]


def test_podmans_names_of_errnos_are_read():
    profile = resolved(defaultErrnoRet=38, defaultErrno="ENOSYS")
    assert profile["defaultErrnoRet"] == 38


def test_a_profile_in_ocis_form_stays_as_it_is():
    oci = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [rule(args=[{"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}])],
    }
    assert document.encode(seccomp.resolve_profile(oci, CAPS)) == oci


ARGUMENT = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}


@pytest.mark.parametrize(
    ("profile", "named"),
    [
        ([], "is not an object"),
        ({}, "defaultAction"),
        ({"defaultAction": "ALLOW"}, "'ALLOW' is not an action"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "sycalls": []}, "unknown field 'sycalls'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "syscalls is not a list"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "takes no errno"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}, "0 to 4095"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": True}, "defaultErrnoRet must be an integer"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "defaultErrno": "ENOSYS"}, "ENOSYS"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]}, "SECCOMP_FILTER_FLAG_X"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"]}, "'x86' is not known"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "archMap": [{}]}, "both"),
        (rule(), "names"),
        (rule(names=[]), "names no system call"),
        (rule(names=[""]), "is no name of a system call"),
        (rule(names=["read\0"]), "syscalls[0].names[0] must be a string without NUL"),
        (rule(name="read"), "both name and names"),
        (rule(exclude={}), "unknown field 'exclude'"),
        (rule(includes={"cap": []}), "unknown field 'cap'"),
        (rule(includes={"minKernel": "4"}), "not of the form"),
        (rule(includes={"minKernel": "4.8.1"}), "not of the form"),
        (rule(args=[{**ARGUMENT, "index": 6}]), "0 to 5"),
        (rule(args=[{**ARGUMENT, "value": 1 << 64}]), "args[0].value"),
        (rule(args=[{**ARGUMENT, "value": -1}]), "args[0].value"),
        (rule(args=[{**ARGUMENT, "op": "EQ"}]), "'EQ' is not an operator"),
        (rule(args=[ARGUMENT, ARGUMENT]), "compares one argument twice"),
    ],
)
def test_what_is_not_understood_is_refused_and_named(profile, named):
    if isinstance(profile, dict) and "action" in profile:
        profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [profile]}
        if named == "names":
            profile = {"names": []}
    with pytest.raises(InvalidValue) as refused:
        seccomp.resolve_profile(profile, CAPS)
    assert named in refused.value.message


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="makes calls by their x86-64 numbers")
def test_of_two_rules_without_comparisons_the_first_holds():
    """As with the other runtimes: Podman's own profile has such pairs."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule(action="SCMP_ACT_ERRNO", errnoRet=1), rule(action="SCMP_ACT_ERRNO", errnoRet=2)],
    }
    instructions = bpf_machine.load(seccomp.compile_filter(document.decode(Seccomp, profile, "profile"))[0])
    assert bpf_machine.answer(instructions, 0xC000003E, 0) == 0x00050001


@pytest.mark.parametrize(
    ("content", "named"), [(None, "No such file"), ("", "JSON"), ("{", "JSON"), ("[]", "not an object"), ("\ud800", "")]
)
def test_a_file_that_is_no_profile_is_refused_with_its_path(tmp_path, content, named):
    path = tmp_path / "profile.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidValue) as refused:
        seccomp.load_profile(str(path), CAPS)
    assert named.lower() in refused.value.message.lower()


def test_a_pipe_or_an_endless_file_as_profile_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(InvalidValue, match="regular"):
            seccomp.load_profile(str(path), CAPS)


def test_a_profile_file_is_read(tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_LOG", "syscalls": [rule()]}))
    assert seccomp.load_profile(str(path), CAPS).default_action == "SCMP_ACT_LOG"
