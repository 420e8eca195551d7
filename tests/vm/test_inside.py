"""What only the virtual machine has: systemd as init, cgroup v2 with all controllers, a user's own session."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

LIMITS = {"memory": {"limit": 64 << 20}, "pids": {"limit": 17}, "cpu": {"shares": 512, "quota": 50000, "period": 100000}}


def _cgroup(pid: int) -> Path:
    line = next(line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
    return Path("/sys/fs/cgroup" + line.removeprefix("0::"))


def test_limits_are_set_in_the_containers_own_cgroup(oci):
    bundle = oci.bundle("/bin/sleep", "60")
    bundle.linux["resources"] = LIMITS
    name = oci.create(bundle)
    cgroup = _cgroup(oci.state(name)["pid"])
    found = {file: (cgroup / file).read_text().strip() for file in ("memory.max", "pids.max", "cpu.max", "cpu.weight")}
    oci.ok("delete", "--force", name)
    assert found == {"memory.max": str(64 << 20), "pids.max": "17", "cpu.max": "50000 100000", "cpu.weight": "59"}
    assert not cgroup.exists()


def test_a_container_is_killed_at_its_memory_limit(oci):
    bundle = oci.bundle(script="head -c 200m /dev/zero | tail > /dev/null; echo $?; exit 3")
    bundle.linux["resources"] = {"memory": {"limit": 16 << 20}}
    assert oci.output(bundle, code=3) == "137\n"


def test_a_container_sees_its_cgroup_as_the_root(oci):
    seen = oci.script("cat /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.procs")
    assert seen == "0::/\n/sys/fs/cgroup/cgroup.procs\n"


def test_a_container_does_not_write_to_its_cgroup(oci):
    assert oci.script("echo 0 > /sys/fs/cgroup/cgroup.procs; echo $?").endswith("1\n")


def test_info_says_that_this_is_cgroup_v2(crate):
    assert json.loads(crate.ok("info", "--format", "json"))["CgroupVersion"] == "2"


@pytest.mark.skipif(os.geteuid() == 0, reason="of an ordinary user")
def test_a_users_container_is_below_the_users_own_slice(oci):
    name = oci.create(oci.bundle("/bin/sleep", "60"))
    cgroup = str(_cgroup(oci.state(name)["pid"]))
    oci.ok("delete", name)
    assert cgroup.startswith(f"/sys/fs/cgroup/user.slice/user-{os.geteuid()}.slice/user@{os.geteuid()}.service/")


PROFILE = """
profile crate-test flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, signal, ptrace, mount, umount,
  deny /etc/group r,
}
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="of root")
def test_a_profile_of_apparmor_holds_for_the_program_and_for_exec(oci):
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache"], input=PROFILE, text=True, check=True, timeout=120)
    bundle = oci.bundle("/bin/sleep", "60")
    bundle.process["apparmorProfile"] = "crate-test"
    name = oci.create(bundle)
    oci.ok("start", name)
    label = Path(f"/proc/{oci.state(name)['pid']}/attr/apparmor/current").read_text()
    inside = oci("exec", name, "/bin/sh", "-c", "cat /etc/passwd > /dev/null && echo read; cat /etc/group")
    oci.ok("delete", "--force", name)
    assert label == "crate-test (enforce)\n"
    assert (inside.stdout, "Permission denied" in inside.stderr) == ("read\n", True)


def test_a_profile_that_is_not_loaded_keeps_the_program_from_running(oci):
    bundle = oci.bundle(script="echo ran")
    bundle.process["apparmorProfile"] = "no-such-profile"
    bundle.write()
    done = oci("run", "--bundle", bundle.directory, oci.name())
    assert (done.returncode != 0, done.stdout) == (True, "")
    assert "cannot set the label of the process" in done.stderr
    assert oci.left() == []
