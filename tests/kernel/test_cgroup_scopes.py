"""The dialogue with systemd: over a real bus with a small systemd of the tests' own, and where systemd is init, with that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from cratebox.cgroup import base, detect, model, mounts, systemd, tree
from cratebox.errors import Conflict, InvalidValue, RuntimeFailure, Unsupported

FAKE = Path(__file__).resolve().parents[1] / "support" / "fake_systemd.py"
SOURCE = Path(__file__).resolve().parents[2] / "src"
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
real = pytest.mark.skipif(not os.path.isdir(systemd.BOOTED), reason="systemd does not run this machine")

_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path={path}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>
"""


@pytest.fixture
def bus(tmp_path, monkeypatch):
    """A bus of our own, where the driver looks for the machine's."""
    program = shutil.which("dbus-daemon")
    if not program:
        pytest.skip("needs dbus-daemon")
    path = tmp_path / "bus"
    (tmp_path / "bus.conf").write_text(_CONFIG.format(path=path))
    daemon = subprocess.Popen([program, f"--config-file={tmp_path}/bus.conf", "--nofork", "--nopidfile", "--nosyslog"])
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    monkeypatch.setattr(systemd, "BOOTED", str(tmp_path))
    _wait_for(path.exists)
    yield f"unix:path={path}"
    daemon.terminate()
    daemon.wait(60)


@pytest.fixture
def fake(bus, tmp_path):
    started = []

    def start(*words):
        log = tmp_path / "calls"
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        started.append(subprocess.Popen([sys.executable, FAKE, bus, log, *words], env=environment))
        _wait_for(log.exists)
        return log

    yield start
    for process in started:
        process.terminate()
        process.wait(60)


def _wait_for(what):
    deadline = time.monotonic() + 120  # an emulated machine begins slowly
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _calls(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def victim():
    process = subprocess.Popen(["sleep", "900"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def path():
    word = uuid.uuid4().hex[:8]
    yield f"cratetest{word}.slice:crate-test:{word}"
    if os.path.isdir("/run/systemd/system"):  # whose directory goes without its knowledge, it makes again
        subprocess.run(["systemctl", "stop", f"cratetest{word}.slice"], capture_output=True)
    hierarchies, unified = mounts.find()
    tops = [mountpoint for _, mountpoint in hierarchies] + [unified.mountpoint if unified else "/nowhere"]
    left = [f"{top}/cratetest{word}.slice" for top in tops if os.path.exists(f"{top}/cratetest{word}.slice")]
    for directory in left:
        tree.kill_each(directory)
        tree.remove_tree(directory, time.monotonic() + 5)
    assert [one for one in left if os.path.exists(one + f"/crate-test-{word}.scope")] == []


@is_root
def test_a_scope_is_asked_for_filled_changed_and_stopped(fake, victim, path):
    log = fake()
    driver = detect.driver("systemd", rootless=False)
    assert driver.needs_pid
    allowed = {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"}
    asked = {"devices": [{"allow": False, "access": "rwm"}, allowed]}
    driver.heed({"org.systemd.property.TimeoutStopSec": "uint64 7", "other": "x"})
    if not driver.v2:
        asked |= {"pids": {"limit": 9}, "cpu": {"shares": 300, "cpus": "0"}}
    cgroup = driver.create(path, model.decode(asked), victim.pid)
    unit = path.split(":", 1)[1].replace(":", "-") + ".scope"
    (_, (name, mode, listed, _)) = next(call for call in _calls(log) if call[0] == "StartTransientUnit")
    properties = {key: value for key, (_signature, value) in listed}
    assert (name, mode) == (unit, "fail")
    wanted = {"Slice": path.split(":")[0], "PIDs": [victim.pid], "Delegate": True, "DefaultDependencies": False,
              "TimeoutStopUSec": 7_000_000,
              "DevicePolicy": "strict", "DeviceAllow": [["/dev/char/1:5", "rwm"]]}  # fmt: skip
    assert {key: properties[key] for key in wanted} == wanted
    assert all(directory.endswith(f"/{path.split(':')[0]}/{unit}") for directory in cgroup.directories.values())
    assert all(tree.processes(directory) == [victim.pid] for directory in cgroup.directories.values())
    assert cgroup.join_fds() == ()

    again = base.from_paths(cgroup.paths())
    assert again.pids() == [victim.pid]
    other = subprocess.Popen(["sleep", "900"], preexec_fn=again.join)  # noqa: PLW1509
    assert sorted(again.pids()) == sorted([victim.pid, other.pid])
    if not driver.v2:
        assert tree.read(again.inner.find("pids"), "pids.max") == "9"
        assert tree.read(again.inner.find("cpuset"), "cpuset.cpus") == "0"
        again.update(model.decode({"pids": {"limit": 5}}))
        assert tree.read(again.inner.find("pids"), "pids.max") == "5"
        assert ["SetUnitProperties", [unit, True, [["TasksMax", ["t", 5]]]]] in _calls(log)
    again.freeze()
    assert again.is_frozen()
    again.thaw()
    again.kill()
    assert (victim.wait(60), other.wait(60)) == (-9, -9)
    again.remove()
    assert not any(os.path.exists(directory) for directory in cgroup.directories.values())
    assert not any(os.path.exists(os.path.dirname(directory)) for directory in cgroup.directories.values())
    assert [call[0] for call in _calls(log)][-2:] == ["StopUnit", "ResetFailedUnit"]
    again.remove()


@is_root
def test_a_scope_that_is_in_use_stays(fake, victim, path):
    fake()
    driver = detect.driver("systemd", rootless=False)
    cgroup = driver.create(path, None, victim.pid)
    other = subprocess.Popen(["sleep", "900"])
    with pytest.raises(Conflict, match="already exists"):
        driver.create(path, None, other.pid)
    assert cgroup.pids() == [victim.pid]
    victim.kill()
    victim.wait()
    later = driver.create(path, None, other.pid)  # nobody is in it any more
    assert later.pids() == [other.pid]
    later.kill()
    other.wait(60)
    later.remove()


@is_root
def test_a_scope_that_systemd_cannot_start_is_an_error(fake, victim, path):
    fake("failed")
    with pytest.raises(RuntimeFailure, match=r"StartTransientUnit of crate-test-.*: failed"):
        detect.driver("systemd", rootless=False).create(path, None, victim.pid)


@is_root
def test_limits_that_cannot_be_set_leave_no_scope(fake, victim, path):
    log = fake()
    driver = detect.driver("systemd", rootless=False)
    with pytest.raises(Unsupported, match="hugepageLimits 3MB"):
        driver.create(path, model.decode({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}), victim.pid)
    assert "StopUnit" in [call[0] for call in _calls(log)]
    with pytest.raises(InvalidValue, match="cgroupsPath"):
        driver.create("/crate/x", None, victim.pid)
    with pytest.raises(RuntimeFailure, match="begin with a process"):
        driver.create(path)


def test_a_bus_without_systemd_is_an_error(bus, victim, path):
    with pytest.raises(RuntimeFailure, match=r"org.freedesktop.systemd1"):
        systemd.Systemd(rootless=False).create(path, None, victim.pid)


def test_no_bus_at_all_says_where_it_was_looked_for(monkeypatch, tmp_path, victim, path):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    monkeypatch.setattr(systemd, "BOOTED", str(tmp_path))
    with pytest.raises(Unsupported, match=f"cannot reach systemd over D-Bus at unix:path={tmp_path}/none: No such file"):
        systemd.Systemd(rootless=False).create(path, None, victim.pid)


@real
@is_root
def test_the_machines_own_systemd_makes_and_removes_a_scope(victim, path):
    driver = detect.driver("systemd", rootless=False)
    asked = {
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": 9},
        "devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 5}],
    }
    cgroup = driver.create(path, model.decode(asked), victim.pid)
    unit = cgroup.paths()["unit"]

    def shown(name):
        argv = ["systemctl", "show", "-P", name, unit]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    assert shown("ActiveState") == "active"
    assert shown("TasksMax") == "9"
    assert shown("CPUQuotaPerSecUSec") == "500ms"
    assert shown("Delegate") == "yes"
    again = base.from_paths(cgroup.paths())
    assert again.pids() == [victim.pid]
    assert again.stats()["pids"] == {"current": 1, "limit": 9}
    again.update(model.decode({"pids": {"limit": 5}, "memory": {"limit": 32 << 20, "swap": 32 << 20}}))
    assert shown("TasksMax") == "5"
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert again.stats()["memory"]["usage"]["limit"] == 32 << 20
    again.freeze()
    again.thaw()
    again.kill()
    assert victim.wait(60) == -9
    again.remove()
    assert shown("ActiveState") == "inactive"
    assert shown("LoadState") == "not-found"
    assert not any(os.path.exists(directory) for directory in cgroup.directories.values())


_CRATE_OCI = """
import sys
sys.path.insert(0, sys.argv[1])
from cratebox.cgroup import systemd
systemd.BOOTED = "/"
from cratebox.cli.oci.main import main
sys.exit(main(sys.argv[2:]))
"""


@is_root
def test_a_container_lives_in_a_scope_from_create_to_delete(fake, root_oci, path):
    log = fake()

    def run(*words):
        argv = [sys.executable, "-c", _CRATE_OCI, str(SOURCE), "--root", str(root_oci.root), *map(str, words)]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=60)
        assert done.returncode == 0, Path(out.name).read_text()

    bundle = root_oci.bundle("/bin/sleep", "900")
    bundle.linux["cgroupsPath"] = path
    bundle.linux["resources"] = {"pids": {"limit": 17}}
    bundle.write()
    name = root_oci.name()
    with open(bundle.directory / "out", "wb") as out:
        run("--systemd-cgroup", "create", "--bundle", bundle.directory, name)
        pid = root_oci.state(name)["pid"]
        scope = f"/{path.split(':')[0]}/{path.split(':', 1)[1].replace(':', '-')}.scope"
        memberships = [line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
        assert memberships.count(scope) >= len(memberships) - 1  # in a hybrid layout v2 is for what v1 lacks
        run("start", name)
        run("delete", "--force", name)
    assert [call[0] for call in _calls(log)][-2:] == ["StopUnit", "ResetFailedUnit"]
