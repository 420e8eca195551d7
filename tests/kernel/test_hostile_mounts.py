"""Mounts of a spec against an image or a volume that wants them elsewhere: over /proc, or on the host. Races included.

Each row names the CVE that it would have been: see docs/security.md.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

import pytest

from support.canary import fingerprint, mounts_now, swapping

SECONDS = float(os.environ.get("CRATE_TEST_RACE_SECONDS", "3"))  # of swapping, for each race; 60 before a release


def run(oci, bundle) -> tuple[int, str, str]:
    """Run it: either it works, or a clear error says why not."""
    bundle.write()
    done = oci("run", "--bundle", bundle.directory, oci.name())
    for word in ("Traceback", "internal error"):
        assert word not in done.stderr, done.stderr
    if done.returncode:
        assert done.stderr.startswith("crate-oci run: "), (done.returncode, done.stderr)
    return done.returncode, done.stdout, done.stderr


def up(path: Path) -> str:
    """A relative way from anywhere to `path`."""
    return "../" * 30 + str(path).lstrip("/")


# --- what may be at /proc ---------------------------------------------------------------------------------------------


def _data(oci) -> Path:
    data = oci.directory / "data"
    data.mkdir(exist_ok=True)
    (data / "file").write_text("fake\n")
    oci.give(data)
    return data


@pytest.mark.parametrize(
    "place",
    ["/proc", "/proc/", "proc", "/mnt/../proc", "/proc/sys", "/proc/1", "/proc/self/attr", "/proc/thread-self/attr",
     "/proc/tty", "/link", "/link/sys"],
)  # fmt: skip
def test_no_directory_is_mounted_over_proc(oci, place):
    """CVE-2019-16884, CVE-2019-19921: labels, sysctls and masks would be written into files of the image's own."""
    bundle = oci.bundle("/bin/true")
    (bundle.rootfs / "link").symlink_to("/proc")
    for source, kind in ((_data(oci), "bind"), ("tmpfs", "tmpfs")):
        spec = list(bundle.spec["mounts"])
        bundle.mount(place, source, kind=kind)
        code, _out, told = run(oci, bundle)
        bundle.spec["mounts"] = spec
        assert code == 1
        assert f"at /{place.lstrip('/')}: " in told


@pytest.mark.parametrize(
    "place", ["/proc/self/attr/current", "/proc/self/attr/exec", "/proc/sys/kernel/hostname", "/proc/1/status", "/proc/kcore2"]
)
def test_no_file_is_mounted_in_proc(oci, place):
    """CVE-2025-52881: what is written there would go to another file."""
    code, _out, told = run(oci, oci.bundle("/bin/true").mount(place, _data(oci) / "file"))
    assert code == 1
    assert f"{place}" in told


def test_a_proc_of_another_type_is_refused(oci):
    bundle = oci.bundle("/bin/true").without("/proc").mount("/proc", "sysfs", "nosuid", kind="sysfs")
    assert "it is not a procfs" in run(oci, bundle)[2]


@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "stat", "uptime", "loadavg", "swaps", "diskstats"])
def test_what_lxcfs_brings_is_mounted(root_oci, name):
    bundle = root_oci.bundle("/bin/cat", f"/proc/{name}").mount(f"/proc/{name}", _data(root_oci) / "file")
    assert root_oci.output(bundle) == "fake\n"


def test_the_hosts_own_procfs_may_be_bound(root_oci):
    bundle = root_oci.bundle("/bin/cat", "/proc/sys/kernel/ostype").without("/proc").mount("/proc", "/proc", "rbind")
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    assert root_oci.output(bundle) == "Linux\n"


def test_a_part_of_a_procfs_is_no_proc(root_oci):
    bundle = root_oci.bundle("/bin/true").without("/proc").mount("/proc", "/proc/sys", "rbind")
    assert "it is not a procfs" in run(root_oci, bundle)[2]


def test_a_root_that_is_mounted_over_the_root_is_looked_at_as_well(oci, canary):
    """CVE-2019-19921 by a volume at /: its proc is a symlink."""
    before = fingerprint(canary)
    bundle = oci.bundle(script="cat /proc/sys/kernel/ostype")
    volume = bundle.directory / "volume"
    shutil.copytree(bundle.rootfs, volume, symlinks=True)
    (volume / "proc").rmdir()
    oci.give(volume)
    mounts = bundle.mount("/", volume, "rbind").spec["mounts"]
    mounts.insert(0, mounts.pop())
    for target in ("/tmp", str(canary), up(canary)):
        (volume / "proc").symlink_to(target)
        code, _out, told = run(oci, bundle)
        (volume / "proc").unlink()
        assert (code, "cannot mount proc at /proc" in told) == (1, True)
        assert fingerprint(canary) == before


# --- races ------------------------------------------------------------------------------------------------------------


def race(oci, bundle, canary: Path, *pairs: tuple[Path, Path]) -> set[int]:
    """Run `bundle` again and again while the names of each pair are exchanged; the canary must not notice."""
    before, null = fingerprint(canary), _null()
    codes, deadline = set(), time.monotonic() + SECONDS
    with swapping(*pairs):
        while time.monotonic() < deadline:
            codes.add(run(oci, bundle)[0])
    assert fingerprint(canary) == before
    assert _null() == null
    assert not [line for line in mounts_now() if str(oci.directory) in line]
    assert oci.left() == []
    return codes


def _null() -> tuple[int, int, int, int]:
    info = os.stat("/dev/null")
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_rdev


def _volume(oci, canary: Path) -> Path:
    volume = oci.directory / "volume"
    (volume / "sub").mkdir(parents=True)
    (volume / "link").symlink_to(up(canary))
    oci.give(volume)
    return volume


@pytest.mark.parametrize("what", ["directory", "file", "tmpfs", "cwd", "device", "mask"])
def test_nothing_is_made_through_a_directory_that_becomes_a_symlink(oci, canary, what):
    """CVE-2024-45310 (mkdir), CVE-2021-30465 (mount), with a place in a volume that another container swaps."""
    volume = _volume(oci, canary)
    bundle = oci.bundle(script="true").mount("/v", volume)
    data = _data(oci)
    if what in ("directory", "file"):
        bundle.mount("/v/sub/new/deep", data if what == "directory" else data / "file")
    elif what == "tmpfs":
        bundle.mount("/v/sub/new/deep", "tmpfs", "tmpcopyup", "mode=700", kind="tmpfs")
    elif what == "cwd":
        bundle.process["cwd"] = "/v/sub/new/deep"
    elif what == "device":
        bundle.linux["devices"] = [{"path": "/v/sub/new/x", "type": "p"}, {"path": "/v/sub/null2", "type": "p", "uid": 0}]
    else:
        bundle.linux["maskedPaths"] = ["/v/sub/file", "/v/sub/etc", "/v/sub"]
        bundle.linux["readonlyPaths"] = ["/v/sub", "/v/sub/pts"]
    race(oci, bundle, canary, (volume / "sub", volume / "link"))


def test_the_kernels_places_are_not_swapped_away(oci, canary):
    """CVE-2019-19921, CVE-2023-27561, CVE-2025-31133, CVE-2025-52565: in a root that another container has as a volume."""
    bundle = oci.bundle(script="true")
    (bundle.directory / "file").write_text("hosts")
    oci.give(bundle.directory)
    bundle.mount("/etc/hosts", bundle.directory / "file")
    pairs = []
    for name in ("dev", "proc", "sys", "etc"):
        link = bundle.rootfs / f"{name}-link"
        link.symlink_to(up(canary))
        pairs.append((bundle.rootfs / name, link))
    race(oci, bundle, canary, *pairs)


def test_a_dev_null_that_becomes_something_else_masks_nothing_wrong(oci, canary):
    """CVE-2025-31133: /dev/null of the image is swapped with a symlink while paths are masked."""
    bundle = oci.bundle(script="cat /proc/keys /proc/timer_list").without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    fake, link = bundle.rootfs / "dev/null", bundle.rootfs / "dev/other"
    fake.write_text("fake")
    link.symlink_to("/proc/sysrq-trigger")
    oci.give(bundle.rootfs)
    race(oci, bundle, canary, (fake, link))


def test_a_console_that_becomes_a_symlink_is_not_followed(oci, canary):
    """CVE-2025-52565: /dev/pts, /dev/pts/ptmx and /dev/console of a root without a /dev of its own."""
    bundle = oci.bundle(script="true").without("/dev", "/dev/shm", "/dev/mqueue")
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    bundle.process["terminal"] = True
    dev, pairs = bundle.rootfs / "dev", []
    (dev / "pts").mkdir()
    (dev / "console").write_text("")
    for name in ("pts", "console"):
        (dev / f"{name}-link").symlink_to(up(canary / name))
        pairs.append((dev / name, dev / f"{name}-link"))
    oci.give(bundle.rootfs)
    race(oci, bundle, canary, *pairs)


def test_the_containers_null_device_is_one_whatever_its_name_becomes(root_oci):
    """A process with a standard stream of the image's choice would write there for the runtime."""
    from cratebox.linux import const
    from cratebox.runtime import devices

    dev = root_oci.directory / "root/dev"
    dev.mkdir(parents=True)
    os.mknod(dev / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(dev / "other", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    root, found = os.open(dev.parent, const.O_PATH), 0
    with swapping((dev / "null", dev / "other")):
        for _ in range(2000):
            fd = devices.open_own_null(root)
            if fd >= 0:
                assert os.fstat(fd).st_rdev == os.makedev(1, 3)
                assert os.get_blocking(fd)
                os.close(fd)
                found += 1
    os.close(root)
    assert found


def test_masks_stay_on_the_procfs_that_was_mounted(root_oci):
    """The directory that /proc is mounted on is renamed, in a root that another container has as a volume."""
    script = "for d in /proc /other; do cat $d/timer_list; echo b > $d/sysrq-trigger && echo written; done 2>/dev/null; true"
    bundle = root_oci.bundle(script=script.replace("echo b >", "[ -w $d/sysrq-trigger ] && : >>"))
    other, deadline, codes = bundle.rootfs / "other", time.monotonic() + SECONDS, []
    other.mkdir()
    with swapping((bundle.rootfs / "proc", other)):
        while time.monotonic() < deadline:
            code, out, _told = run(root_oci, bundle)
            codes.append(code)
            assert out == "", "a procfs without its masks"
    assert codes
