"""`crate-oci --systemd-cgroup` under a real systemd: what it knows of a container, beside runc's, and what stays of one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.bundles import Bundle, Oci, make_oci
from support.systemd import session, systemctl

LIMITS = {
    "memory": {"limit": 64 << 20, "reservation": 32 << 20},
    "pids": {"limit": 17},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000},
}
SHOWN = (
    "LoadState",
    "ActiveState",
    "Slice",
    "Delegate",
    "MemoryMax",
    "MemoryLow",
    "TasksMax",
    "CPUWeight",
    "CPUQuotaPerSecUSec",
)


@dataclass
class ScopeOci(Oci):
    """crate-oci with systemd's cgroups. As an ordinary user, with the bus of the user's own session."""

    def argv(self, *args: str | Path) -> list[str]:
        return [str(self.executable), "--systemd-cgroup", "--root", str(self.root), *map(str, args)]

    def __call__(self, *args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return super().__call__(*args, env=session(), **options)

    def start(self, *args: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        return super().start(*args, env=session(), **options)

    def limited(self, limits: dict[str, Any] | None = None) -> tuple[Bundle, str]:
        """A bundle that sleeps, and the name of the scope it is to have."""
        bundle = self.bundle("/bin/sleep", "300")
        word = self.directory.parent.name
        bundle.linux["resources"] = LIMITS if limits is None else limits
        bundle.linux["cgroupsPath"] = f"{slice_of(self)}:crate-test:{word}"
        return bundle.write(), f"crate-test-{word}.scope"


def slice_of(oci: Oci) -> str:
    return "user.slice" if oci.rootless else "system.slice"


def shown(unit: str) -> dict[str, str]:
    lines = systemctl("show", f"--property={','.join(SHOWN)}", unit).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def cgroup_of(pid: int) -> Path:
    line = next(line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))
    return Path("/sys/fs/cgroup" + line.removeprefix("0::"))


def files(cgroup: Path) -> dict[str, str]:
    return {
        name: (cgroup / name).read_text().strip() for name in ("memory.max", "memory.low", "pids.max", "cpu.max", "cpu.weight")
    }


@pytest.fixture(params=["root", "user"])
def oci(request: pytest.FixtureRequest, scratch: Path, word: str, rootfs_template: Path) -> Iterator[ScopeOci]:
    for made in make_oci(request.param, scratch, word, rootfs_template):
        yield ScopeOci(made.kind, made.person, made.executable, made.directory, made.template)
        made.remove_everything()


def test_a_container_is_in_the_scope_of_its_spec_with_its_limits(oci):
    bundle, unit = oci.limited()
    name = oci.create(bundle)
    oci.ok("start", name)
    found, cgroup = shown(unit), cgroup_of(oci.state(name)["pid"])
    limits = files(cgroup)
    oci.ok("delete", "--force", name)
    assert (found["ActiveState"], found["Slice"], found["Delegate"]) == ("active", slice_of(oci), "yes")
    assert (found["MemoryMax"], found["MemoryLow"], found["TasksMax"]) == (str(64 << 20), str(32 << 20), "17")
    assert (found["CPUWeight"], found["CPUQuotaPerSecUSec"]) == ("59", "500ms")
    assert cgroup.name == unit
    assert limits == {"memory.max": str(64 << 20), "memory.low": str(32 << 20), "pids.max": "17", "cpu.max": "50000 100000",
                      "cpu.weight": "59"}  # fmt: skip


def test_delete_leaves_no_unit_and_no_cgroup(oci):
    bundle, unit = oci.limited()
    name = oci.create(bundle)
    cgroup = cgroup_of(oci.state(name)["pid"])
    oci.ok("delete", "--force", name)
    assert shown(unit)["LoadState"] == "not-found"
    assert not cgroup.exists()
    assert oci.left() == []


def test_what_ends_by_itself_leaves_no_unit(oci):
    bundle, unit = oci.limited()
    bundle.process["args"] = ["/bin/true"]
    assert oci.output(bundle) == ""
    assert shown(unit)["LoadState"] == "not-found"


def test_limits_outlive_a_reload_of_systemd(oci):
    """systemd writes again what it believes: what only the files had would be gone."""
    bundle, _unit = oci.limited()
    name = oci.create(bundle)
    cgroup = cgroup_of(oci.state(name)["pid"])
    before = files(cgroup)
    systemctl("daemon-reload")
    time.sleep(1)
    after = files(cgroup)
    oci.ok("delete", "--force", name)
    assert after == before


def test_update_changes_the_unit_and_the_files(oci):
    bundle, unit = oci.limited()
    name = oci.create(bundle)
    oci.ok("update", "--memory", str(48 << 20), "--pids-limit", "23", name)
    found, limits = shown(unit), files(cgroup_of(oci.state(name)["pid"]))
    oci.ok("delete", "--force", name)
    assert (found["MemoryMax"], found["TasksMax"]) == (str(48 << 20), "23")
    assert (limits["memory.max"], limits["pids.max"]) == (str(48 << 20), "23")


def test_the_default_scope_has_the_containers_name(oci):
    bundle = oci.bundle("/bin/sleep", "300")
    name = oci.create(bundle)
    cgroup = cgroup_of(oci.state(name)["pid"])
    oci.ok("delete", "--force", name)
    assert cgroup.name == f"crate-oci-{name}.scope"
    assert slice_of(oci) in cgroup.parts


def test_a_process_of_exec_is_in_the_scope(oci):
    bundle, unit = oci.limited()
    name = oci.create(bundle)
    oci.ok("start", name)
    said = oci.ok("exec", name, "/bin/sh", "-c", "cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs | wc -l")
    oci.ok("delete", "--force", name)
    assert said.splitlines()[0] == "0::/"
    assert int(said.splitlines()[1]) >= 2
    assert shown(unit)["LoadState"] == "not-found"


def test_a_path_that_is_no_scope_is_refused_before_anything_exists(oci):
    bundle = oci.bundle("/bin/true")
    bundle.linux["cgroupsPath"] = "/crate/plain"
    bundle.write()
    assert "slice:prefix:name" in oci.fails("create", "--bundle", bundle.directory, oci.name())
    assert oci.left() == []


def test_a_create_that_is_killed_leaves_no_scope_after_delete(oci):
    bundle, unit = oci.limited()
    for delay in (0.4, 0.8, 1.2):
        name = oci.name()
        create = oci.start("create", "--bundle", bundle.directory, name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        create.kill()
        create.wait()
        oci.ok("delete", "--force", name)
        assert shown(unit)["ActiveState"] != "active"
    assert oci.left() == []


def test_systemd_knows_the_same_of_a_container_as_of_runcs(oci):
    # Of the shares between, runc before 1.3 makes other weights: it took the two scales for straight ones.
    bundle, unit = oci.limited(LIMITS | {"cpu": {"shares": 262144, "quota": 50000, "period": 100000}})
    name = oci.create(bundle)
    ours, ours_files = shown(unit), files(cgroup_of(oci.state(name)["pid"]))
    oci.ok("delete", "--force", name)
    runc = ["runc", "--root", str(oci.directory / "runc"), "--systemd-cgroup"]
    environment = os.environ | session()
    null = subprocess.DEVNULL
    argv = [*runc, "create", "--bundle", str(bundle.directory), name]
    subprocess.run(argv, env=environment, stdin=null, stdout=null, timeout=60, check=True)
    state = subprocess.run([*runc, "state", name], env=environment, capture_output=True, text=True, timeout=60, check=True)
    pid = json.loads(state.stdout)["pid"]
    theirs, theirs_files = shown(unit), files(cgroup_of(pid))
    subprocess.run([*runc, "delete", "--force", name], env=environment, timeout=60)
    assert ours == theirs
    assert ours_files == theirs_files


@pytest.mark.skipif(os.geteuid() == 0, reason="of an ordinary user")
def test_a_user_without_a_session_is_told(oci):
    bundle, _unit = oci.limited()
    bundle.write()
    done = oci.person.run(oci.argv("create", "--bundle", bundle.directory, oci.name()), env={"XDG_RUNTIME_DIR": "/nowhere"})
    assert done.returncode == 1
    assert "bus" in done.stderr
    assert oci.left() == []
