"""Real cgroups of v2, on whatever mount of it there is: the program for devices, clone3, kill, delegation."""

from __future__ import annotations

import errno
import os
import subprocess
import time
import uuid

import pytest

from cratebox.cgroup import base, detect, model, mounts, tree
from cratebox.cgroup.v2 import V2, V2Cgroup
from cratebox.errors import Conflict, RuntimeFailure, Unsupported
from cratebox.linux import bpf, namespaces

UNIFIED = mounts.find()[1]
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or UNIFIED is None or not os.access(UNIFIED.mountpoint, os.W_OK),
    reason="needs root and a writable mount of cgroup v2",
)
PARENT = f"crate-test-{uuid.uuid4().hex[:8]}"
DENY_ALL = {"allow": False, "access": "rwm"}
NOBODY = 65534


@pytest.fixture
def driver():
    yield V2(UNIFIED.mountpoint)
    directory = f"{UNIFIED.mountpoint}/{PARENT}"
    if os.path.exists(directory):
        assert tree.children(directory) == [], "a test left a cgroup behind"
        os.rmdir(directory)


@pytest.fixture
def create(driver):
    made = []

    def make(resources=None):
        made.append(driver.create(f"{PARENT}/one", resources and model.decode(resources)))
        return made[-1]

    yield make
    for cgroup in made:
        cgroup.kill()
        cgroup.remove()


def inside(cgroup, action, clone=False):
    pid, pidfd = namespaces.clone(0, cgroup.fd_for_clone()) if clone else (os.fork(), -1)
    if pid == 0:
        code = 255
        try:
            cgroup.join()
            code = action() or 0
        except OSError as error:
            code = error.errno
        finally:
            os._exit(code)
    if pidfd >= 0:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def opened(path, flags=os.O_RDWR):
    return lambda: os.close(os.open(path, flags))


def is_inside():
    with open("/proc/self/cgroup", encoding="ascii") as file:
        return int(f"0::{UNIFIED.root.rstrip('/')}/{PARENT}/one\n" not in file.read().splitlines(keepends=True))


def test_a_child_joins(create):
    assert inside(create(), is_inside) == 0


def test_a_child_can_be_born_inside(create, monkeypatch):
    cgroup = create()
    monkeypatch.setattr(tree, "write", None)  # join has nothing to do
    assert inside(cgroup, is_inside, clone=True) == 0


def test_a_denied_device_cannot_be_opened(create):
    assert inside(create({"devices": [DENY_ALL]}), opened("/dev/zero")) == errno.EPERM


def test_an_allowed_device_can_be_opened_and_another_not(create):
    cgroup = create({"devices": [DENY_ALL, {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}]})
    assert inside(cgroup, opened("/dev/zero", os.O_RDONLY)) == 0
    assert inside(cgroup, opened("/dev/zero")) == errno.EPERM
    assert inside(cgroup, opened("/dev/full")) == errno.EPERM


def test_a_detached_program_no_longer_counts(create):
    from cratebox.cgroup.devices import v2_program

    cgroup = create()
    program = bpf.load_device_program(v2_program((model.DeviceRule(allow=False),)))
    bpf.attach_device_program(cgroup.open(), program)
    assert inside(cgroup, opened("/dev/zero")) == errno.EPERM
    bpf.detach_device_program(cgroup.open(), program)
    assert inside(cgroup, opened("/dev/zero")) == 0
    with pytest.raises(FileNotFoundError):
        bpf.detach_device_program(cgroup.open(), program)
    os.close(program)


def test_a_long_list_of_rules_passes_the_verifier(create):
    rules = [DENY_ALL] + [
        {"allow": bool(number % 3), "type": "bc"[number % 2], "major": number, "minor": number % 7 - 1, "access": "rw"}
        for number in range(1, 300)
    ]
    create({"devices": rules})


def test_the_verifiers_reason_is_in_the_error():
    with pytest.raises(OSError, match=r"exit|return|R0|jump|insn"):
        bpf.load_device_program(bytes([0x95, 0, 0, 0, 0, 0, 0, 0]))


def test_kill_ends_everybody_inside_nested_ones_too(create):
    cgroup = create()
    victims = [subprocess.Popen(["sleep", "900"], preexec_fn=cgroup.join) for _ in range(2)]  # noqa: PLW1509
    os.mkdir(f"{cgroup.directory}/below")
    tree.write(f"{cgroup.directory}/below", "cgroup.procs", str(victims[1].pid))
    assert sorted(cgroup.pids()) == sorted(victim.pid for victim in victims)
    cgroup.kill()
    assert [victim.wait(60) for victim in victims] == [-9, -9]
    cgroup.remove()
    assert not os.path.exists(cgroup.directory)


def test_a_kernel_without_cgroup_kill_kills_as_well(create):
    cgroup = create()
    victims = [subprocess.Popen(["sleep", "900"], preexec_fn=cgroup.join) for _ in range(2)]  # noqa: PLW1509
    cgroup._kill_each()
    assert [victim.wait(60) for victim in victims] == [-9, -9]


def test_what_is_gone_is_killed_and_removed_without_a_word(create):
    cgroup = create()
    cgroup.remove()
    cgroup.kill()
    cgroup.remove()
    assert cgroup.pids() == []


def test_another_process_comes_back_by_the_paths(create):
    again = base.from_paths(create().paths())
    assert isinstance(again, V2Cgroup)
    assert inside(again, is_inside) == 0


def test_a_path_in_use_is_a_conflict(create, driver):
    cgroup = create()
    victim = subprocess.Popen(["sleep", "900"], preexec_fn=cgroup.join)  # noqa: PLW1509
    with pytest.raises(Conflict, match=str(victim.pid)):
        driver.create(f"{PARENT}/one")
    cgroup.kill()
    victim.wait(60)


def test_a_controller_that_is_not_there_is_named_and_nothing_stays(driver):
    missing = {"memory", "pids", "cpu"} - set(tree.read(UNIFIED.mountpoint, "cgroup.controllers").split())
    if not missing:
        pytest.skip("this machine's v2 has memory, pids and cpu")
    asked = {"memory": {"memory": {"limit": 1 << 24}}, "pids": {"pids": {"limit": 3}}, "cpu": {"cpu": {"shares": 3}}}
    for controller in missing:
        with pytest.raises(Unsupported, match=f"the {controller} controller"):
            driver.create(f"{PARENT}/one", model.decode(asked[controller]))


def test_a_controller_that_is_there_is_handed_down(create):
    if "hugetlb" not in tree.read(UNIFIED.mountpoint, "cgroup.controllers").split():
        pytest.skip("this machine's v2 has no hugetlb")
    cgroup = create({"unified": {"hugetlb.2MB.max": "0"}})
    assert tree.read(cgroup.directory, "hugetlb.2MB.max") == "0"


def test_who_joins_one_that_takes_no_process_goes_where_its_first_one_is(create):
    if "hugetlb" not in tree.read(UNIFIED.mountpoint, "cgroup.controllers").split():
        pytest.skip("this machine's v2 has no hugetlb")
    cgroup = create({"unified": {"hugetlb.2MB.max": "0"}})
    first, elsewhere = (subprocess.Popen(["/bin/sleep", "900"]) for _ in range(2))
    try:
        assert cgroup.beside(first.pid) is cgroup
        os.mkdir(cgroup.directory + "/init.scope")
        V2Cgroup({"unified": cgroup.directory + "/init.scope"}).add(first.pid)
        assert cgroup.beside(first.pid) is cgroup
        tree.write(cgroup.directory, "cgroup.subtree_control", "+hugetlb")
        assert inside(cgroup, lambda: 0) == errno.EBUSY
        assert inside(cgroup.beside(first.pid), lambda: 0) == 0
        assert cgroup.beside(first.pid).directory == cgroup.directory + "/init.scope"
        assert cgroup.beside(elsewhere.pid).directory == cgroup.directory, "never out of it"
    finally:
        for one in (first, elsewhere):
            one.kill()
            one.wait()


def test_a_value_the_kernel_refuses_leaves_nothing(driver):
    if "hugetlb" not in tree.read(UNIFIED.mountpoint, "cgroup.controllers").split():
        pytest.skip("this machine's v2 has no hugetlb")
    with pytest.raises(RuntimeFailure, match=r"hugetlb.2MB.max"):
        driver.create(f"{PARENT}/one", model.decode({"unified": {"hugetlb.2MB.max": "many"}}))


@pytest.fixture
def delegated_cgroup(driver):
    """A cgroup that belongs to another user, as systemd makes for each user's services."""
    directory = f"{UNIFIED.mountpoint}/{PARENT}"
    os.makedirs(f"{directory}/session")
    for owned in (directory, f"{directory}/session"):
        for file in ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"):
            os.chown(owned + file, NOBODY, NOBODY)
    yield directory
    tree.remove_tree(directory, time.monotonic() + 5)


def as_nobody_in(directory, action):
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            tree.write(directory, "cgroup.procs", "0")
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            code = action() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_an_ordinary_user_works_in_a_delegated_cgroup(delegated_cgroup):
    def work():
        driver = detect.driver("", rootless=True)
        assert (driver.name, driver.place) == ("v2", delegated_cgroup)
        cgroup = driver.create("crate/x", model.decode({"devices": [DENY_ALL]}))
        victims = []
        for clone in (False, True):
            pid = namespaces.clone(0, cgroup.fd_for_clone())[0] if clone else os.fork()
            if pid == 0:
                cgroup.join()
                os.execv("/bin/sleep", ["sleep", "900"])
            victims.append(pid)
            cgroup.close()
        for _ in range(200):
            if len(cgroup.pids()) == 2:
                break
            os.sched_yield()
        cgroup.kill()
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in victims] == [-9, -9]
        cgroup.remove()
        os.rmdir(f"{delegated_cgroup}/crate")

    assert as_nobody_in(f"{delegated_cgroup}/session", work) == 0


def test_an_ordinary_user_without_delegation_is_told(driver):
    def work():
        found = detect.driver("", rootless=True)
        assert found.name == "disabled"
        assert "delegated" in found.reason

    assert as_nobody_in(UNIFIED.mountpoint, work) == 0


def test_who_is_given_a_cgroup_owns_what_may_be_delegated_and_no_limit(create):
    cgroup = create()
    cgroup.give(NOBODY)
    owned = {name for name in os.listdir(cgroup.directory) if os.stat(f"{cgroup.directory}/{name}").st_uid == NOBODY}
    assert os.stat(cgroup.directory).st_uid == NOBODY
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= owned
    assert not {"cgroup.kill", "cgroup.freeze", "memory.max", "pids.max", "hugetlb.2MB.max"} & owned
