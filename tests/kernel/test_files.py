"""What a container's process sees of /proc, /sys, /dev and its root: asked from inside."""

from __future__ import annotations

import os
import subprocess

import pytest

from support.bundles import MASKED, READONLY, mount_options


@pytest.mark.parametrize("path", MASKED)
def test_a_masked_path_shows_nothing(oci, path):
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {path}")
    assert (
        oci.script(f"if [ -d {path} ]; then ls -A {path}; else cat {path}; fi; touch {path}/x 2>/dev/null && echo made; true")
        == ""
    )


@pytest.mark.parametrize("path", READONLY)
def test_a_readonly_path_is_read_only(oci, path):
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {path}")
    assert "ro" in mount_options(oci.script("cat /proc/self/mountinfo"))[path]


def test_no_setting_of_the_kernel_can_be_changed(oci):
    printed = oci.script(
        "echo x > /proc/sys/kernel/domainname; true", stderr=subprocess.STDOUT, capture_output=False, stdout=subprocess.PIPE
    )
    assert "Read-only file system" in printed


@pytest.mark.skipif(not os.path.exists("/proc/sysrq-trigger"), reason="this kernel has no sysrq")
def test_sysrq_is_out_of_reach(oci):
    printed = oci.script(
        "echo h > /proc/sysrq-trigger; true", stderr=subprocess.STDOUT, capture_output=False, stdout=subprocess.PIPE
    )
    assert "Read-only" in printed or "denied" in printed


def test_the_devices_are_those_that_every_container_has(oci):
    listed = oci.script(
        "cd /dev; for n in null zero full random urandom tty; do stat -c '%n %t:%T %a %F' $n; done"
    ).splitlines()
    assert listed == [
        f"{name} {number} 666 character special file"
        for name, number in (
            ("null", "1:3"),
            ("zero", "1:5"),
            ("full", "1:7"),
            ("random", "1:8"),
            ("urandom", "1:9"),
            ("tty", "5:0"),
        )
    ]


def test_dev_has_nothing_else(oci):
    wanted = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert " ".join(oci.script("ls /dev").split()) == wanted


def test_the_links_of_dev_are_there(oci):
    assert oci.script("cd /dev; readlink fd; readlink stdin; readlink ptmx") == "/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n"


def test_a_device_of_the_host_cannot_be_made(oci):
    """A disk's number: either mknod is refused, or the device cgroup refuses to open it."""
    bundle = oci.bundle(script="mknod /tmp/disk b 8 0 2>/dev/null && head -c 1 /tmp/disk 2>/dev/null && echo read; true")
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]} if oci.kind == "root" else {}
    assert oci.output(bundle) == ""


def test_sys_is_read_only(oci):
    printed = oci.script(
        "echo 1 > /sys/kernel/mm/transparent_hugepage/enabled; mkdir /sys/x; cat /proc/self/mountinfo 2>/dev/null; true"
    )
    assert "ro" in mount_options(printed)["/sys"]


def test_the_containers_cgroup_is_its_root(oci):
    if oci.rootless:
        pytest.skip("no cgroup of its own without root here")
    names = [line.split(":", 2)[2] for line in oci.script("cat /proc/self/cgroup").splitlines()]
    hybrid = [one for one in names if one != "/"]
    assert len(hybrid) <= 1, "the unified hierarchy beside those of v1 has no container of its own"


def test_the_cgroup_files_cannot_be_written(oci):
    script = """
        for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
            [ -d $d ] || continue
            mkdir $d/mine 2>/dev/null && echo made $d/mine
            for f in release_agent notify_on_release cgroup.procs tasks devices.allow memory.max; do
                [ -e $d/$f ] && (echo 1 > $d/$f) 2>/dev/null && echo wrote $d/$f
            done
        done; true
    """
    assert oci.script(script) == ""


def test_the_cgroup_mount_cannot_be_made_writable(oci):
    assert oci.script("mount -o remount,rw,bind /sys/fs/cgroup 2>/dev/null && echo changed; true") == ""


def test_a_release_agent_cannot_be_set_by_mounting_a_hierarchy_again(oci):
    """CVE-2022-0492."""
    mount = "mount -t cgroup -o rdma,memory cgroup /tmp/c 2>/dev/null && echo mounted"
    script = f"mkdir /tmp/c; {mount}; unshare -UrmC true 2>/dev/null; true"
    assert oci.script(script) == ""


def test_the_root_is_read_only_where_the_spec_says_so(oci):
    bundle = oci.bundle(script="touch /tmp/x 2>/dev/null && echo wrote; touch /dev/shm/x && echo memory")
    bundle.spec["root"]["readonly"] = True
    assert oci.output(bundle) == "memory\n"
