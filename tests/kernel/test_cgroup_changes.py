"""Cgroups in use, of whichever version this machine has: stopped and let go, changed, counted, watched."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import time
import uuid

import pytest

from cratebox import jsontext
from cratebox.cgroup import base, detect, limits, model, tree
from cratebox.cgroup.resources import Write
from cratebox.errors import InvalidValue, NotFound, RuntimeFailure, Unsupported

DRIVER = detect.driver("", rootless=False)
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or DRIVER.name not in {"v1", "v2"}, reason="needs root and a writable cgroup file system"
)
V1 = DRIVER.name == "v1"
PARENT = f"crate-test-{uuid.uuid4().hex[:8]}"
DENY_ALL = {"allow": False, "access": "rwm"}
MIB = 1 << 20


def _tops():
    tops = [mountpoint for _, mountpoint in DRIVER.hierarchies] if V1 else [DRIVER.place]
    return tops + ([DRIVER.unified] if V1 and DRIVER.unified else [])


def _controllers():
    if not V1:
        return set(tree.read(DRIVER.place, "cgroup.controllers").split())
    return {name for names, _ in DRIVER.hierarchies for name in names.split(",")}


@pytest.fixture
def create():
    made = []

    def make(resources=None):
        made.append(DRIVER.create(f"{PARENT}/one", resources and model.decode(resources)))
        return made[-1]

    yield make
    for cgroup in made:
        cgroup.kill()
        cgroup.remove()
    for top in _tops():
        if os.path.isdir(f"{top}/{PARENT}"):
            assert tree.children(f"{top}/{PARENT}") == [], "a test left a cgroup behind"
            os.rmdir(f"{top}/{PARENT}")


def value(cgroup, controller, in_v1, in_v2):
    """Return what is in a file of the cgroup, in the terms of v1."""
    if not V1:
        return tree.read(cgroup.directory, in_v2)
    return tree.read(cgroup.find(controller), in_v1)


def update(cgroup, **groups):
    cgroup.update(model.decode(groups))


def inside(cgroup, script, **options):
    argv = [sys.executable, "-I", "-S", "-c", script]
    return subprocess.Popen(argv, preexec_fn=cgroup.join, **options)  # noqa: PLW1509


TICKING = "import time\nwhile True:\n    print('tick', flush=True)\n    time.sleep(0.01)\n"


def _ticks(pipe, seconds):
    """Return how many bytes come within `seconds`."""
    deadline, got = time.monotonic() + seconds, 0
    while (left := deadline - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            got += len(os.read(pipe.fileno(), 65536))
    return got


def test_who_is_frozen_stands_still_and_goes_on_when_thawed(create):
    cgroup = create()
    process = inside(cgroup, TICKING, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"tick\n"
    assert not cgroup.is_frozen()
    cgroup.freeze()
    assert cgroup.is_frozen()
    assert base.from_paths(cgroup.paths()).is_frozen()
    _ticks(process.stdout, 0.1)  # what it had written before
    assert _ticks(process.stdout, 0.2) == 0
    cgroup.freeze()
    cgroup.thaw()
    assert not cgroup.is_frozen()
    assert _ticks(process.stdout, 1) > 0
    process.kill()
    process.communicate()


def test_the_frozen_are_killed_too(create):
    cgroup = create()
    process = inside(cgroup, "import time; time.sleep(900)")
    cgroup.freeze()
    cgroup.kill()
    assert process.wait(60) == -9


def test_what_is_gone_is_not_frozen_and_cannot_be(create):
    cgroup = create()
    cgroup.remove()
    assert not cgroup.is_frozen()
    for change in (cgroup.freeze, cgroup.thaw, lambda: update(cgroup, pids={"limit": 3}), cgroup.watch_oom):
        with pytest.raises(NotFound, match="is gone"):
            change()


def test_a_process_is_put_inside(create):
    process = subprocess.Popen(["sleep", "900"])
    cgroup = create()
    cgroup.add(process.pid)
    assert cgroup.pids() == [process.pid]
    other = subprocess.Popen(["sleep", "900"])
    cgroup.add(other.pid)
    assert sorted(cgroup.pids()) == sorted([process.pid, other.pid])
    cgroup.kill()
    assert (process.wait(60), other.wait(60)) == (-9, -9)


@pytest.mark.parametrize(
    "steps",
    [((64, 64), (128, 128), (32, 32), (96, 192), (48, 48)), ((64, 128), (256, -1), (32, 64)), ((64, 64), (-1, None), (32, 32))],
)
def test_memory_grows_and_shrinks_with_its_swap(create, steps):
    if "memory" not in _controllers():
        pytest.skip("this machine has no memory controller to use")
    cgroup = create({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    if V1 and not os.path.exists(cgroup.find("memory") + "/memory.memsw.limit_in_bytes"):
        pytest.skip("this kernel does not count swap")
    for limit, swap in steps:
        wanted = {"limit": limit * MIB if limit > 0 else limit}
        if swap is not None:
            wanted["swap"] = swap * MIB if swap > 0 else swap
        update(cgroup, memory=wanted)
        found = value(cgroup, "memory", "memory.limit_in_bytes", "memory.max")
        assert found == str(limit * MIB) if limit > 0 else found == "max" or int(found) > 1 << 60


def test_memory_beyond_its_limit_with_swap_says_what_to_set_with_it(create):
    if "memory" not in _controllers():
        pytest.skip("this machine has no memory controller to use")
    cgroup = create({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    if not V1:  # which counts swap apart
        update(cgroup, memory={"limit": 64 * MIB})
        assert tree.read(cgroup.directory, "memory.max") == str(64 * MIB)
        return
    with pytest.raises(RuntimeFailure, match=r"cannot set memory.limit") as refused:
        update(cgroup, memory={"limit": 64 * MIB})
    assert refused.value.hint == "it is above the limit of memory and swap together: set memory.swap with it"


@pytest.mark.parametrize(
    "steps",
    [
        ((50_000, 100_000), (900_000, 1_000_000), (1_000, 2_000), (200_000, 50_000)),
        ((-1, 100_000), (1_000, 1_000), (-1, 1_000_000), (500_000, 1_000_000)),
    ],
)
def test_quota_and_period_change_together(create, steps):
    if "cpu" not in _controllers():
        pytest.skip("this machine has no cpu controller to use")
    cgroup = create({"cpu": {"quota": 10_000, "period": 20_000}})
    for quota, period in steps:
        update(cgroup, cpu={"quota": quota, "period": period})
        if V1:
            assert tree.read(cgroup.find("cpu"), "cpu.cfs_quota_us") == str(quota)
            assert tree.read(cgroup.find("cpu"), "cpu.cfs_period_us") == str(period)
        else:
            assert tree.read(cgroup.directory, "cpu.max") == f"{quota if quota > 0 else 'max'} {period}"


def test_a_period_alone_keeps_the_quota_and_a_quota_alone_the_period(create):
    if "cpu" not in _controllers():
        pytest.skip("this machine has no cpu controller to use")
    cgroup = create({"cpu": {"quota": 10_000, "period": 20_000}})
    update(cgroup, cpu={"period": 40_000})
    update(cgroup, cpu={"quota": 5_000})
    if V1:
        found = (tree.read(cgroup.find("cpu"), "cpu.cfs_quota_us"), tree.read(cgroup.find("cpu"), "cpu.cfs_period_us"))
        assert found == ("5000", "40000")
    else:
        assert tree.read(cgroup.directory, "cpu.max") == "5000 40000"


def test_a_burst_goes_with_its_quota(create):
    if "cpu" not in _controllers():
        pytest.skip("this machine has no cpu controller to use")
    cgroup = create({"cpu": {"quota": 50_000, "period": 100_000, "burst": 40_000}})
    update(cgroup, cpu={"quota": 10_000, "burst": 5_000})
    assert value(cgroup, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "5000"
    update(cgroup, cpu={"quota": 90_000, "burst": 80_000})
    assert value(cgroup, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "80000"


def test_the_idle_have_no_shares_until_they_are_not(create):
    if "cpu" not in _controllers():
        pytest.skip("this machine has no cpu controller to use")
    cgroup = create({"cpu": {"idle": 1}})
    update(cgroup, cpu={"shares": 512, "idle": 0})
    assert value(cgroup, "cpu", "cpu.shares", "cpu.weight") == ("512" if V1 else "59")


def test_a_refused_change_is_none(create):
    if not {"pids", "cpu"} <= _controllers():
        pytest.skip("this machine has no pids and cpu controllers to use")
    cgroup = create({"pids": {"limit": 7}, "cpu": {"quota": 50_000}})
    with pytest.raises(RuntimeFailure, match=r"cannot set cpu.quota: write '1.*' to .*: Invalid argument"):
        update(cgroup, pids={"limit": 9}, cpu={"shares": 300, "quota": 1})
    assert value(cgroup, "pids", "pids.max", "pids.max") == "7"
    assert value(cgroup, "cpu", "cpu.shares", "cpu.weight") == ("1024" if V1 else "100")
    with pytest.raises(InvalidValue):
        update(cgroup, pids={"limit": 9}, cpu={"cpus": "x"})
    assert value(cgroup, "pids", "pids.max", "pids.max") == "7"


def test_a_limit_below_what_is_in_use_is_refused_where_that_is_asked_for(create):
    if "memory" not in _controllers():
        pytest.skip("this machine has no memory controller to use")
    cgroup = create({"memory": {"limit": 128 * MIB}})
    script = "import sys\nkept = b'x' * (48 << 20)\nprint('ready', flush=True)\nsys.stdin.read()"
    process = inside(cgroup, script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    with pytest.raises(RuntimeFailure, match=r"memory.limit"):
        update(cgroup, memory={"limit": 8 * MIB, "swap": 8 * MIB, "checkBeforeUpdate": True})
    process.communicate()
    assert process.returncode == 0


def test_device_rules_change_while_processes_run(create):
    allow = {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rw"}
    cgroup = create({"devices": [DENY_ALL, allow]})
    script = """
import sys
for _ in sys.stdin:
    try:
        open("/dev/zero").close()
        print("opened", flush=True)
    except OSError as error:
        print(error.errno, flush=True)
"""
    process = inside(cgroup, script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tries():
        process.stdin.write("\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    assert tries() == "opened"
    update(cgroup, devices=[DENY_ALL])
    assert tries() == str(errno.EPERM)
    update(cgroup, devices=[DENY_ALL, allow])
    assert tries() == "opened"
    process.communicate()


def test_what_is_used_is_counted(create):
    cgroup = create({"pids": {"limit": 9}} if "pids" in _controllers() else None)
    script = "import sys\nsum(range(3_000_000))\nkept = b'x' * (8 << 20)\nprint('ready', flush=True)\nsys.stdin.read()"
    process = inside(cgroup, script, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    found = cgroup.stats()
    assert jsontext.loads(jsontext.dumps(found)) == found
    if {"cpuacct", "cpu"} & _controllers():
        assert 5_000_000 < found["cpu"]["usage"]["total"] < 60_000_000_000
        assert found["cpu"]["usage"]["user"] > 0
    if "memory" in _controllers():
        assert 8 * MIB < found["memory"]["usage"]["usage"] < 1 << 30
        assert found["memory"]["usage"]["limit"] > 1 << 60
        assert found["memory"]["raw"]
    if "pids" in _controllers():
        assert found["pids"] == {"current": 1, "limit": 9}
    process.communicate()
    cgroup.remove()
    assert isinstance(cgroup.stats(), dict)


def test_a_kill_for_want_of_memory_is_told_and_a_removal_is_not(create):
    if "memory" not in _controllers():
        pytest.skip("this machine has no memory controller to use")
    cgroup = create({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    watch = cgroup.watch_oom()
    poll = select.poll()
    poll.register(watch.fd, watch.events)
    assert watch.seen() == 0
    assert poll.poll(0) == []
    process = inside(cgroup, "kept = b'x' * (256 << 20)")
    assert poll.poll(10_000)
    assert process.wait(60) == -9
    assert watch.seen() >= 1
    assert any(_is_quiet(poll, watch) for _ in range(50)), "who polls would never wait again"
    assert watch.seen() == 0
    cgroup.remove()
    poll.poll(100)
    assert watch.seen() == 0
    watch.close()


def _is_quiet(poll, watch):
    watch.seen()
    return poll.poll(100) == []


@pytest.mark.skipif(not V1 or not DRIVER.unified, reason="the layout is not hybrid")
def test_what_v1_lacks_is_found_in_v2(create):
    if "hugetlb" not in tree.read(DRIVER.unified, "cgroup.controllers").split():
        pytest.skip("v2 has no hugetlb here")
    size = next(iter(os.listdir("/sys/kernel/mm/hugepages"))).removeprefix("hugepages-").removesuffix("kB")
    name = f"{int(size) >> 10}MB" if int(size) < 1 << 20 else f"{int(size) >> 20}GB"
    cgroup = create({"hugepageLimits": [{"pageSize": name, "limit": 1 << 30}], "pids": {"limit": 9}})
    directory = cgroup.directories["unified"]
    assert tree.read(directory, f"hugetlb.{name}.max") == str(1 << 30)
    again = base.from_paths(cgroup.paths())
    process = inside(again, "import time; time.sleep(900)")
    assert tree.processes(directory) == again.pids() == [process.pid]
    update(again, hugepageLimits=[{"pageSize": name, "limit": 0}])
    assert tree.read(directory, f"hugetlb.{name}.max") == "0"
    assert again.stats()["hugetlb"][name]["usage"] == 0
    again.kill()
    assert process.wait(60) == -9
    again.remove()
    assert not os.path.exists(directory)


@pytest.mark.skipif(not V1 or not DRIVER.unified, reason="the layout is not hybrid")
def test_what_a_container_was_not_made_for_is_refused_and_nothing_changes(create):
    cgroup = create({"pids": {"limit": 9}})
    with pytest.raises(Unsupported, match="the container is in no cgroup of the hugetlb controller"):
        update(cgroup, hugepageLimits=[{"pageSize": "2MB", "limit": 0}], pids={"limit": 5})
    assert tree.read(cgroup.find("pids"), "pids.max") == "9"


def test_a_page_that_the_kernel_has_not_is_named(create):
    with pytest.raises(Unsupported, match=r"hugepageLimits 3MB"):
        create({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]})


def _disk():
    for name in sorted(os.listdir("/sys/block")):
        with open(f"/sys/block/{name}/dev", encoding="ascii") as file:
            major, minor = file.read().strip().split(":")
        return {"major": int(major), "minor": int(minor)}
    pytest.skip("this machine has no disk")


def test_the_rates_of_a_disk_are_limited(create):
    if not {"blkio", "io"} & _controllers():
        pytest.skip("this machine has no controller of disks to use")
    disk = _disk()
    cgroup = create(
        {"blockIO": {"throttleReadBpsDevice": [{**disk, "rate": 1 << 20}], "throttleWriteIOPSDevice": [{**disk, "rate": 9}]}}
    )
    number = f"{disk['major']}:{disk['minor']}"
    if V1:
        assert tree.read(cgroup.find("blkio"), "blkio.throttle.read_bps_device") == f"{number} {1 << 20}"
        assert tree.read(cgroup.find("blkio"), "blkio.throttle.write_iops_device") == f"{number} 9"
    else:
        assert tree.read(cgroup.directory, "io.max") == f"{number} rbps={1 << 20} wbps=max riops=max wiops=9"


def test_a_disk_that_is_not_there_is_said_so(create):
    if not {"blkio", "io"} & _controllers():
        pytest.skip("this machine has no controller of disks to use")
    with pytest.raises(RuntimeFailure, match=r"blockIO.throttleReadBpsDevice: .*4000:77") as refused:
        create({"blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 77, "rate": 1}]}})
    assert refused.value.hint == "there is no such disk"


def test_the_weight_of_disks(create):
    if not {"blkio", "io"} & _controllers():
        pytest.skip("this machine has no controller of disks to use")
    try:
        cgroup = create({"blockIO": {"weight": 200}})
    except Unsupported as error:
        assert "blockIO.weight: this kernel has no" in error.message  # noqa: PT017  some kernels have no weights
        return
    if V1:
        assert "200" in {_first(cgroup.find("blkio"), file) for file in ("blkio.bfq.weight", "blkio.weight")}
    else:
        assert {"200", "1920"} & {_first(cgroup.directory, file).split()[-1] for file in ("io.bfq.weight", "io.weight")}


def _first(directory, file):
    try:
        return tree.read(directory, file).splitlines()[0]
    except OSError:
        return "none"


@pytest.mark.skipif(not V1, reason="cgroup v2 has no real time")
def test_real_time_takes_a_budget_above(create):
    if not os.path.exists(dict(DRIVER.hierarchies).get("cpu", "") + "/cpu.rt_runtime_us"):
        pytest.skip("this kernel has no real time for cgroups")
    asked = {"cpu": {"realtimeRuntime": 5_000, "realtimePeriod": 500_000}}
    with pytest.raises(RuntimeFailure, match=r"cpu.realtimeRuntime") as refused:
        create(asked)
    assert "the cgroup above needs" in refused.value.hint
    above = f"{dict(DRIVER.hierarchies)['cpu']}/{PARENT}"
    tree.write(above, "cpu.rt_runtime_us", "100000")
    cgroup = create(asked)
    assert tree.read(cgroup.find("cpu"), "cpu.rt_runtime_us") == "5000"
    assert tree.read(cgroup.find("cpu"), "cpu.rt_period_us") == "500000"


@pytest.mark.parametrize("asked", [{"network": {"classID": 5}}, {"rdma": {"mlx5_0": {"hcaHandles": 1}}}])
def test_a_controller_that_is_missing_is_named(create, asked):
    controller = {"network": "net_cls", "rdma": "rdma"}[next(iter(asked))]
    if controller in _controllers():
        pytest.skip(f"this machine has {controller}")
    with pytest.raises(Unsupported, match=next(iter(asked))):
        create(asked)


def test_no_processes_at_all_still_lets_one_join(create):
    if "pids" not in _controllers():
        pytest.skip("this machine has no pids controller to use")
    cgroup = create({"pids": {"limit": 0}})
    assert cgroup.fd_for_clone() is None
    script = "import os, sys\ntry:\n    os.fork()\nexcept OSError as error:\n    sys.exit(error.errno)"
    assert inside(cgroup, script).wait(60) == errno.EAGAIN


def test_a_cgroup_below_is_found_or_said_not_to_be_there(create):
    cgroup = create()
    for directory in cgroup.directories.values():
        os.mkdir(f"{directory}/deep")
    assert cgroup.below({"": "deep"}).directories == {name: f"{path}/deep" for name, path in cgroup.directories.items()}
    with pytest.raises(NotFound, match="cgroup shallow does not exist"):
        cgroup.below({"": "shallow"})
    with pytest.raises(InvalidValue):
        cgroup.below({"": "../one"})
    with pytest.raises(InvalidValue, match="no cgroup of a controller 'junk' alone"):
        cgroup.below({"junk": "deep"})


def test_a_manager_of_cgroups_is_chosen_by_name():
    assert detect.driver("cgroupfs", rootless=False).name == DRIVER.name
    assert detect.driver("disabled", rootless=False).create("x").paths() == {}
    with pytest.raises(Unsupported, match="--cgroup-manager disabled"):
        detect.driver("disabled", rootless=False).create("x", model.decode({"memory": {"limit": 5}}))
    with pytest.raises(InvalidValue, match="no cgroup manager"):
        detect.driver("openrc", rootless=False)


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs this machine")
def test_systemd_is_not_looked_for_where_it_is_not_init():
    with pytest.raises(Unsupported, match="systemd does not run this machine"):
        detect.driver("systemd", rootless=False)


def test_a_cgroup_that_is_removed_between_two_limits_is_told_as_gone(create, monkeypatch):
    """The kernel says ENODEV to who has the file open already, ENOENT to who opens it now."""
    one = create()
    directory = one.find("pids") if V1 else one.directory
    ask = Write("pids", "pids.max", "50", "pids.limit")
    limits.change({"pids": directory}, [ask])
    whole = tree.write

    def write(*words):
        one.remove()
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(tree, "write", write)
    with pytest.raises(NotFound, match=r"pids\.limit.*is gone"):
        limits.change({"pids": directory}, [ask])
    monkeypatch.setattr(tree, "write", whole)
    with pytest.raises(NotFound, match=r"is gone"):
        limits.apply({"pids": directory}, [ask])
