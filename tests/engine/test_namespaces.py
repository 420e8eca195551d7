"""What a container shares with the machine or with other containers: --pid, --ipc, --uts, --cgroupns, --userns, --sysctl."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def own(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


@pytest.fixture
def other(box) -> Iterator[str]:
    """A container that runs."""
    name = box.detached("--name", "other", "--hostname", "of-the-other", "@", "sleep", "1000")
    yield name
    box.crate.ok("rm", "-f", name)


def namespace_of(box, name: str, kind: str) -> str:
    return os.readlink(f"/proc/{box.crate.ok('inspect', '-f', '{{.State.Pid}}', name)}/ns/{kind}")


@pytest.mark.parametrize(("flag", "kind"), [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")])
def test_a_namespace_is_its_own_or_the_machines(box, flag: str, kind: str) -> None:
    assert box.run("readlink", f"/proc/self/ns/{kind}") != own(kind)
    assert box.run(flag, "private", "@", "readlink", f"/proc/self/ns/{kind}") != own(kind)
    assert box.run(flag, "host", "@", "readlink", f"/proc/self/ns/{kind}") == own(kind)


@pytest.mark.parametrize(("flag", "kind"), [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts")])
def test_a_namespace_may_be_another_containers(box, other: str, flag: str, kind: str) -> None:
    wanted = namespace_of(box, other, kind)
    assert box.run(flag, "container:other", "@", "readlink", f"/proc/self/ns/{kind}") == wanted
    assert box.run(flag, f"container:{other[:12]}", "@", "readlink", f"/proc/self/ns/{kind}") == wanted


def test_several_at_once_may_be_another_containers(box, other: str) -> None:
    flags = ("--pid", "container:other", "--ipc", "container:other", "--uts", "container:other")
    said = box.run(*flags, "@", "sh", "-c", "for kind in pid ipc uts; do readlink /proc/self/ns/$kind; done; hostname").split()
    assert said == [*(namespace_of(box, other, kind) for kind in ("pid", "ipc", "uts")), "of-the-other"]


def test_with_the_machines_processes_all_are_seen(box) -> None:
    assert f"/proc/{os.getpid()}" in box.run("--pid", "host", "@", "sh", "-c", "echo /proc/[0-9]*").split()


def test_with_another_containers_processes_those_are_seen(box, other: str) -> None:
    said = box.run("--pid", "container:other", "@", "ps", "-o", "args")
    assert "sleep 1000" in said


def test_what_stays_of_a_container_in_the_machines_pid_namespace_is_ended(box, word: str, until) -> None:
    name = box.crate.ok("run", "-d", "--pid", "host", box.image, "sh", "-c", f"sh -c 'sleep 1000; true {word}' & exec true")
    until(lambda: box.status(name) == "exited")
    until(
        lambda: (
            not [path for path in Path("/proc").glob("[0-9]*/cmdline") if f"sleep 1000; true {word}".encode() in _read(path)]
        )
    )
    box.crate.ok("rm", name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_shared_memory_of_another_container_is_shared(box, other: str) -> None:
    box.run("--ipc", "container:other", "@", "sh", "-c", "echo hello > /dev/shm/word")
    assert box.run("--ipc", "container:other", "@", "cat", "/dev/shm/word") == "hello"
    assert "No such file" in box.fails("cat", "/dev/shm/word", code=1)


def test_shared_memory_of_the_machine_is_shared(box, word: str) -> None:
    box.run("--ipc", "host", "@", "sh", "-c", f"echo hello > /dev/shm/{word}")
    try:
        with open(f"/dev/shm/{word}") as file:
            assert file.read() == "hello\n"
    finally:
        os.unlink(f"/dev/shm/{word}")


def test_without_ipc_there_is_no_shared_memory(box) -> None:
    assert box.fails("--ipc", "none", "@", "ls", "/dev/shm", code=1)


def test_a_container_that_does_not_want_it_is_not_joined(box) -> None:
    name = box.detached("--name", "alone", "--ipc", "private", "@", "sleep", "1000")
    try:
        assert "nobody is to join it" in box.fails("--ipc", "container:alone", "@", "true")
    finally:
        box.crate.ok("rm", "-f", name)


def test_the_other_container_must_be_there_and_run(box) -> None:
    assert "no container not-there" in box.fails("--pid", "container:not-there", "@", "true")
    other = box.create("@", "true")
    box.create("--name", "left", "--pid", f"container:{other}", "@", "true")
    box.crate.ok("rm", other)
    said = box.crate.fails("start", "left", code=125)
    assert f"--pid: the container whose pid namespace it is to share, {other[:12]}, was removed" in said
    box.create("--name", "still", "@", "true")
    said = box.fails("--pid", "container:still", "@", "true")
    assert "still is not running" in said
    assert "crate start still" in said


def test_a_container_that_joins_starts_again_with_its_other(box) -> None:
    first = box.detached("--name", "first", "@", "sleep", "1000")
    second = box.create("--pid", "container:first", "@", "readlink", "/proc/self/ns/pid")
    try:
        assert box.crate.ok("start", "-a", second) == namespace_of(box, first, "pid")
        box.crate.ok("restart", "-t", "0", first)
        assert box.crate.ok("start", "-a", second) == namespace_of(box, first, "pid")
    finally:
        box.crate.ok("rm", "-f", first, second)


def test_exec_is_in_the_shared_namespace_as_well(box, other: str) -> None:
    name = box.detached("--pid", "container:other", "@", "sleep", "500")
    try:
        done = box.crate("exec", name, "ps", "-o", "args")
        if "not there yet" in done.stderr:
            pytest.skip("there is no exec yet")
        assert "sleep 1000" in done.stdout
    finally:
        box.crate.ok("rm", "-f", name)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--uts", "host", "--hostname", "x"), "--hostname would rename this machine"),
        (("--uts", "container:x", "--hostname", "x"), "--hostname would rename the other container"),
        (("--pid", "pod"), "--pid"),
        (("--pid", "container:"), "--pid cannot be container:"),
        (("--pid", "ns:/proc/1/ns/pid"), "--pid ns:/proc/1/ns/pid is not there"),
        (("--ipc", "container"), "--ipc cannot be container"),
        (("--userns", "auto:size=0"), "at least one"),
        (("--userns", "nomap"), "--userns nomap is not there"),
        (("--userns", "keep-id:x=1"), "none of its options"),
        (("--privileged", "--userns", "host"), "means nothing in a user namespace"),
        (("--ipc", "none", "--shm-size", "1m"), "--ipc none leaves out"),
        (("--ipc", "host", "--shm-size", "1m"), "/dev/shm is that of this machine"),
        (("--sysctl", "kernel.panic=1"), "belongs to no namespace"),
        (("--sysctl", "net.ipv4.ip_forward=1"), "would change this machine"),
        (("--ipc", "host", "--sysctl", "kernel.shmmax=1"), "would change this machine"),
        (("--sysctl", "kernel.shmmax"), "NAME=VALUE"),
    ],
)
def test_what_contradicts_itself_is_refused(box, flags: tuple[str, ...], why: str) -> None:
    assert why in box.fails(*flags, "@", "true")
    assert box.crate.ok("ps", "-aq") == ""


def test_parameters_of_its_own_namespaces_are_set(box) -> None:
    said = box.run(
        "--sysctl",
        "kernel.msgmax=4242",
        "--sysctl",
        "kernel.shmmni=77",
        "@",
        "cat",
        "/proc/sys/kernel/msgmax",
        "/proc/sys/kernel/shmmni",
    )
    assert said.split() == ["4242", "77"]
    flags = ("--network", "none", "--sysctl", "net.ipv4.ip_forward=1")
    assert box.run(*flags, "@", "cat", "/proc/sys/net/ipv4/ip_forward") == "1"


def test_the_machines_user_namespace_is_what_it_is_anyway(box) -> None:
    assert box.run("--userns", "host", "@", "id", "-u") == "0"


def test_the_machines_cgroups_are_seen_by_name(root_box) -> None:
    name = root_box.create("--cgroupns", "host", "@", "cat", "/proc/self/cgroup")
    assert f"/crate-{name}" in root_box.crate.ok("start", "-a", name)
