"""process.apparmorProfile and process.selinuxLabel, on a machine that has neither module: what is asked for in vain, and the
way of a label into the kernel, for which a file that every kernel has stands in.
"""

from __future__ import annotations

import os

import pytest

from cratebox.errors import RuntimeFailure, Unsupported
from cratebox.linux import lsm
from cratebox.runtime import labels, lifecycle, spec

PROCESS = spec.decode_process({"cwd": "/", "args": ["x"]})
STANDS_IN = "thread-self/oom_score_adj"


@pytest.mark.parametrize(("field", "module"), [("apparmorProfile", "AppArmor"), ("selinuxLabel", "SELinux")])
def test_a_label_of_a_module_that_is_not_there_is_refused_by_name(oci, field, module):
    if lsm.has_apparmor() or lsm.has_selinux():
        pytest.skip("this machine has a security module")
    made = oci.bundle("/bin/true")
    made.process[field] = "some:thing"
    made.write()
    said = oci.fails("create", "--bundle", made.directory, oci.name())
    assert f"process.{field} 'some:thing'" in said
    assert f"no {module}" in said
    assert oci.left() == []


def test_what_is_written_is_what_each_module_reads(monkeypatch):
    monkeypatch.setattr(lsm, "has_apparmor", lambda: True)
    monkeypatch.setattr(lsm, "has_selinux", lambda: True)
    for wanted, path, text in (
        (PROCESS.replace(apparmor_profile="docker-default"), lsm.apparmor_exec("x")[0], "exec docker-default"),
        (PROCESS.replace(selinux_label="u:r:t:s0"), "thread-self/attr/exec", "u:r:t:s0"),
    ):
        label = labels.reserve(wanted)
        os.close(label.procfs)
        assert (label.path, label.text) == (path, text)


def test_one_module_does_not_stand_for_the_other(monkeypatch):
    monkeypatch.setattr(lsm, "has_apparmor", lambda: True)
    with pytest.raises(Unsupported, match=r"process\.selinuxLabel"):
        labels.reserve(PROCESS.replace(apparmor_profile="x", selinux_label="u:r:t:s0"))


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_the_write_is_made_by_the_container_and_its_procfs_is_gone(root_oci, monkeypatch, no_new_privileges):
    """In this process, which pretends that there is AppArmor."""
    monkeypatch.setattr(lsm, "has_apparmor", lambda: True)
    monkeypatch.setattr(lsm, "apparmor_exec", lambda text: (STANDS_IN, text))
    made = root_oci.bundle("/bin/sh", "-c", "cat /proc/self/oom_score_adj > /told; ls /proc/self/fd >> /told")
    made.process.update(apparmorProfile="432", noNewPrivileges=no_new_privileges)
    made.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    made.write()
    name = root_oci.name()
    lifecycle.create(str(root_oci.root), name, str(made.directory))
    pid = root_oci.state(name)["pid"]
    lifecycle.start(str(root_oci.root), name)
    os.waitpid(pid, 0)
    told = (made.rootfs / "told").read_text().split()
    assert told[0] == "432"
    assert set(told[1:]) <= {"0", "1", "2", "3"}, "ls itself has 3"
    root_oci.ok("delete", name)


def test_a_label_that_the_module_refuses_keeps_the_program_from_running(root_oci, monkeypatch):
    monkeypatch.setattr(lsm, "has_apparmor", lambda: True)
    monkeypatch.setattr(lsm, "apparmor_exec", lambda text: (STANDS_IN, text))
    made = root_oci.bundle("/bin/sh", "-c", "echo ran > /told")
    made.process["apparmorProfile"] = "junk"
    made.write()
    name = root_oci.name()
    lifecycle.create(str(root_oci.root), name, str(made.directory))
    pid = root_oci.state(name)["pid"]
    with pytest.raises(RuntimeFailure, match="cannot set the label of the process"):
        lifecycle.start(str(root_oci.root), name)
    os.waitpid(pid, 0)
    assert not (made.rootfs / "told").exists()
    root_oci.ok("delete", "--force", name)
