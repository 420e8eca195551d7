"""The layouts of other machines, read from what their /proc says."""

from __future__ import annotations

import pytest

from cratebox.cgroup import base, detect, tree
from cratebox.cgroup.model import DeviceRule, Memory, Resources
from cratebox.cgroup.mounts import Unified, find
from cratebox.cgroup.v2 import delegated
from cratebox.errors import InvalidValue, Unsupported

V2 = (
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 "
    "rw,nsdelegate,memory_recursiveprot\n"
)
V1 = """\
31 23 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:28 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw
33 31 0:29 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
37 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:16 - cgroup cgroup rw,cpu,cpuacct
38 31 0:34 / /sys/fs/cgroup/memory rw,nosuid shared:17 - cgroup cgroup rw,memory
39 31 0:35 / /sys/fs/cgroup/pids ro,nosuid shared:18 - cgroup cgroup rw,pids
40 31 0:33 / /mnt/a\\040b rw,nosuid - cgroup cgroup rw,cpu,cpuacct
"""
MEMBERSHIP = "12:pids:/x\n5:cpu,cpuacct:/\n4:memory:/y\n1:name=systemd:/init.scope\n0::/init.scope\n"


def test_a_machine_with_v2_has_no_hierarchies():
    assert find(V2, "0::/user.slice\n") == ((), Unified(mountpoint="/sys/fs/cgroup", root="/", own="/user.slice"))


def test_controllers_that_share_a_hierarchy_stay_together():
    hierarchies, unified = find(V1, MEMBERSHIP)
    assert dict(hierarchies) == {
        "cpu,cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
        "name=systemd": "/sys/fs/cgroup/systemd",
    }
    assert unified.mountpoint == "/sys/fs/cgroup/unified"


def test_a_read_only_hierarchy_is_none():
    assert "pids" not in dict(find(V1, MEMBERSHIP)[0])


def test_spaces_in_a_mountpoint_are_read():
    assert dict(find(V1.partition("40 31")[0].replace("/sys/fs/cgroup/memory", "/a\\040b"), MEMBERSHIP)[0])["memory"] == "/a b"


def test_a_machine_without_cgroups_has_none():
    assert find("23 0 0:21 / / rw - ext4 /dev/vda rw\n", "") == ((), None)


def test_what_is_delegated_is_found_below_the_mount(tmp_path):
    for part in ("", "a", "a/b"):
        (tmp_path / part).mkdir(exist_ok=True)
        for file in ("cgroup.procs", "cgroup.subtree_control"):
            if part:
                (tmp_path / part / file).write_text("")
    unified = Unified(mountpoint=str(tmp_path), root="/", own="/a/b")
    assert delegated(unified) == str(tmp_path / "a")
    assert delegated(unified.replace(own="/")) is None
    assert delegated(unified.replace(root="/a", own="/a/a")) == str(tmp_path / "a")
    assert delegated(unified.replace(root="/else", own="/a")) is None


@pytest.mark.parametrize("path", ["", "/", "..", "a/../b", "a/.", "a\nb", "a\0b", "a" * 256])
def test_a_path_that_could_leave_its_place_is_refused(path):
    with pytest.raises(InvalidValue):
        tree.checked_path(path)


def test_an_absolute_path_is_below_the_hierarchies():
    assert tree.checked_path("/crate//x/") == "crate/x"


@pytest.mark.parametrize(
    ("hierarchies", "unified", "name"),
    [
        ((("memory", "/m"), ("name=systemd", "/s")), Unified(mountpoint="/u", root="/", own="/"), "v1"),
        ((("memory", "/m"),), None, "v1"),
        ((("name=systemd", "/s"),), Unified(mountpoint="/u", root="/", own="/"), "v2"),
        ((), Unified(mountpoint="/u", root="/", own="/"), "v2"),
        ((), None, "disabled"),
    ],
)
def test_the_version_is_where_the_controllers_are(monkeypatch, hierarchies, unified, name):
    monkeypatch.setattr(detect.mounts, "find", lambda: (hierarchies, unified))
    monkeypatch.setattr(detect.os, "access", lambda _path, _mode: True)
    assert detect.driver("", rootless=False).name == name


def test_without_cgroups_a_container_runs_and_a_limit_is_refused():
    driver = base.Disabled("no cgroup has been delegated to this user", "ask")
    cgroup = driver.create("crate/x", Resources(memory=Memory()))
    cgroup.join()
    cgroup.kill()
    cgroup.remove()
    assert (cgroup.pids(), cgroup.paths(), cgroup.fd_for_clone()) == ([], {}, None)
    assert type(base.from_paths({})) is type(cgroup)
    with pytest.raises(Unsupported, match=r"memory.limit: no cgroup has been delegated") as refused:
        driver.create("crate/x", Resources(memory=Memory(limit=1)))
    assert refused.value.hint == "ask"


@pytest.mark.parametrize(("uid", "runs"), [(0, False), (1000, True)])
def test_root_needs_device_rules_and_a_user_cannot_make_nodes_anyway(monkeypatch, uid, runs):
    monkeypatch.setattr(base.os, "geteuid", lambda: uid)
    resources = Resources((DeviceRule(allow=False),))
    assert base.Disabled("chosen", chosen=True).create("crate/x", resources).paths() == {}
    if runs:
        assert base.Disabled("why").create("crate/x", resources).paths() == {}
    else:
        with pytest.raises(Unsupported, match="devices: why"):
            base.Disabled("why").create("crate/x", resources)
