"""Images and volumes that try to lead the runtime out of the container: the canary, a tree of the host, stays as it was.

Each row names the CVE that it would have been: see docs/security.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from support import commands
from support.canary import fingerprint, mounts_now, swapping


def _try(oci, bundle) -> tuple[int, str]:
    """Run it: either it works, or a clear error says why not."""
    bundle.write()
    done = oci("run", "--bundle", bundle.directory, oci.name())
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr, done.stderr
    if done.returncode:
        assert done.stderr.startswith("crate-oci run: "), (done.returncode, done.stderr)
    return done.returncode, done.stdout


def _replace(path: Path, target: str) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _targets(canary: Path) -> dict[str, str]:
    return {
        "absolute": str(canary),
        "relative": "../" * 30 + str(canary).lstrip("/"),
        "parent": "..",
        "dangling": "/nowhere/at/all",
        "process": "/proc/self/root" + str(canary),
    }


PLACES = ("dev", "proc", "sys", "dev/null", "dev/pts", "dev/shm", "dev/console", "dev/ptmx", "etc", "etc/resolv.conf",
          "proc/self",
          "sys/fs/cgroup", "tmp", "run")  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_symlink_in_the_image_leads_nowhere_outside(oci, canary, place):
    """CVE-2025-31133, CVE-2025-52565, CVE-2019-19921, CVE-2021-30465 without the race."""
    hosts = oci.directory / "hosts"
    hosts.write_text("127.0.0.1 inside\n")
    before = fingerprint(canary)
    outcomes = {}
    bundle = oci.bundle(script="echo 1 > /etc/file; cat /dev/null; ls /dev/pts /proc/self /tmp; mkdir /run/x; true")
    bundle.mount("/etc/resolv.conf", hosts).mount("/run/y", "tmpfs", "nosuid", kind="tmpfs").mount("/tmp/made/z", hosts)
    bundle.process["cwd"] = "/tmp"
    for name, target in _targets(canary).items():
        _replace(bundle.rootfs / place, target)
        outcomes[name] = _try(oci, bundle)[0]
        assert fingerprint(canary) == before, (place, name)
    assert oci.left() == []
    if place in ("proc", "sys", "dev"):
        assert set(outcomes.values()) == {1}, "the kernel's own places must be real directories"


@pytest.mark.parametrize("place", ["dev", "proc", "sys"])
def test_the_error_names_the_place_that_is_a_symlink(oci, place):
    bundle = oci.bundle("/bin/true")
    _replace(bundle.rootfs / place, "/tmp")
    bundle.write()
    assert f"/{place}" in oci.fails("run", "--bundle", bundle.directory, oci.name())


def test_a_symlink_as_dev_without_a_mount_there_gets_no_node_outside(oci, canary):
    """The spec brings no /dev of its own: nodes and links of /dev are not made through the symlink."""
    before = fingerprint(canary)
    bundle = oci.bundle("/bin/true").without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    bundle.linux["devices"] = [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]
    for target in _targets(canary).values():
        _replace(bundle.rootfs / "dev", target)
        _try(oci, bundle)
        assert fingerprint(canary) == before, target


def test_a_fake_null_device_masks_nothing_of_the_host(oci, canary):
    """CVE-2025-31133: a /dev/null of the image's own is not what is laid over masked paths."""
    bundle = oci.bundle(script="cat /proc/keys /proc/timer_list; true").without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    (bundle.rootfs / "dev/null").write_text("fake")
    before = fingerprint(canary)
    assert "fake" not in _try(oci, bundle)[1]
    assert fingerprint(canary) == before


@pytest.mark.parametrize("kind", ["tmpfs", "directory", "file"])
def test_a_mount_on_a_symlink_stays_inside(oci, canary, kind):
    source = oci.directory / "volume"
    source.mkdir()
    (source / "mark").write_text("volume")
    given = {"tmpfs": ("tmpfs", "tmpfs"), "directory": (source, "bind"), "file": (source / "mark", "bind")}[kind]
    before = fingerprint(canary)
    bundle = oci.bundle(script="echo container > /data/x; echo container > /data/new/deep; true")
    own = list(bundle.spec["mounts"])
    for name, target in _targets(canary).items():
        _replace(bundle.rootfs / "data", target)
        for destination in ("/data", "/data/new/deep", "/a/../data/file"):
            bundle.spec["mounts"] = list(own)
            bundle.mount(destination, given[0], kind=given[1])
            _try(oci, bundle)
            assert fingerprint(canary) == before, (name, destination)


def test_a_mount_lands_where_the_symlink_leads_inside(oci):
    source = oci.directory / "volume"
    source.mkdir()
    (source / "mark").write_text("volume")
    bundle = oci.bundle("/bin/cat", "/tmp/there/mark")
    (bundle.rootfs / "tmp/there").mkdir()
    (bundle.rootfs / "data").symlink_to("/../../tmp/there")
    assert oci.output(bundle.mount("/data", source)) == "volume"


def test_a_mount_target_swapped_in_a_shared_volume_stays_inside(oci, canary):
    """CVE-2021-30465: a volume's directory becomes a symlink between the check and the mount."""
    volume = oci.directory / "volume"
    (volume / "sub/x").mkdir(parents=True)
    (volume / "link").symlink_to("../" * 30 + str(canary).lstrip("/"))
    oci.give(volume)
    before = fingerprint(canary)
    bundle = (
        oci.bundle(script="touch /v/sub/x/made; true").mount("/v", volume).mount("/v/sub/x", "tmpfs", "nosuid", kind="tmpfs")
    )
    with swapping((volume / "sub", volume / "link")):
        for _ in range(25):
            _try(oci, bundle)
    assert fingerprint(canary) == before
    assert not [line for line in mounts_now() if str(oci.directory) in line]


def _working_directories() -> list[str]:
    fixed = ["/proc/self/cwd", "/proc/1/cwd", "/proc/1/root/../..", "/proc/self/fd/3/../../../..",
             "/proc/self/root/proc/self/fd/8",
             "/proc/thread-self/fd/7", "/dev/fd/7", "/link"]  # fmt: skip
    return [f"/proc/self/fd/{number}" for number in range(3, 65)] + fixed


def test_no_working_directory_is_a_descriptor_of_the_runtime(oci, canary):
    """CVE-2024-21626: the descriptor would be a directory of the host."""
    before = fingerprint(canary)
    bundle = oci.bundle(script="pwd; ls; touch escaped")
    (bundle.rootfs / "link").symlink_to("/proc/self/fd/7")
    allowed = {"/proc/1/root/../..": "/", "/proc/self/cwd": "", "/proc/1/cwd": ""}

    def open_directories() -> None:
        host = os.open(canary, os.O_RDONLY | os.O_DIRECTORY)
        for fd in range(3, 65):
            os.dup2(host, fd)

    entered = []
    for cwd in _working_directories():
        bundle.process["cwd"] = cwd
        bundle.write()
        done = oci("run", "--bundle", bundle.directory, oci.name(), close_fds=False, preexec_fn=open_directories)
        if done.returncode == 0:
            entered.append((cwd, done.stdout))
        else:
            assert "working directory" in done.stderr, (cwd, done.stderr)
    assert [cwd for cwd, _ in entered if cwd not in allowed] == []
    assert fingerprint(canary) == before


def _everything_of_ours(oci) -> str:
    """Return a hash of what runs with the rights of the host: the command, its interpreter and its package, compiled files
    included."""
    files = (oci.executable, Path(commands.words_of(oci.executable)[0]))
    return "".join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files) + fingerprint(oci.package)


@pytest.mark.parametrize("how", ["script", "symlink", "library"])
def test_an_entry_point_that_is_the_runtime_itself_gets_nothing_to_write_to(oci, how):
    """CVE-2019-5736: /proc/self/exe is, at that moment, the last program of the host."""
    bundle = oci.bundle("/entry")
    entry = bundle.rootfs / "entry"
    if how == "script":
        entry.write_text("#!/proc/self/exe\n")
        entry.chmod(0o755)
    elif how == "symlink":
        entry.symlink_to("/proc/self/exe")
    else:
        entry.write_text("#!/proc/self/exe /bin/sh\necho own > /proc/self/exe\n")
        entry.chmod(0o755)
    bundle.write()
    before = _everything_of_ours(oci)
    done = oci("run", "--bundle", bundle.directory, oci.name())
    assert (done.returncode, done.stdout, done.stderr) == (126, "", ""), "it became the stub, which is not its own interpreter"
    assert _everything_of_ours(oci) == before


def test_a_process_of_the_container_cannot_write_to_what_started_it(oci):
    before = _everything_of_ours(oci)
    oci.script("for p in 1 self; do (echo x > /proc/$p/exe) 2>/dev/null; done; true")
    assert _everything_of_ours(oci) == before


def test_the_runtimes_own_process_is_not_dumpable_while_it_waits(oci):
    """What is not dumpable belongs to root of the initial namespace: nobody of the container may look into it."""
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    owner = os.stat(f"/proc/{oci.state(name)['pid']}/fd").st_uid
    oci.ok("delete", name)
    assert owner == 0


def test_a_masked_path_is_no_way_out(oci, canary):
    """CVE-2019-19921, CVE-2023-27561: masks and read-only paths through a symlink."""
    before = fingerprint(canary)
    bundle = oci.bundle("/bin/true")
    (bundle.rootfs / "hide").symlink_to("../" * 30 + str(canary).lstrip("/"))
    bundle.linux["maskedPaths"] = ["/hide", "/hide/file", "/hide/etc", "/../../etc/passwd"]
    bundle.linux["readonlyPaths"] = ["/hide", "/hide/etc"]
    _try(oci, bundle)
    assert fingerprint(canary) == before


def test_a_device_of_the_spec_is_not_made_through_a_symlink(oci, canary):
    before = fingerprint(canary)
    bundle = oci.bundle("/bin/true")
    (bundle.rootfs / "nodes").symlink_to(canary)
    (bundle.rootfs / "more").symlink_to("../" * 30 + str(canary).lstrip("/"))
    for path in ("/nodes/null2", "/more/null2", "/dev/../nodes/x"):
        bundle.linux["devices"] = [{"path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]
        _try(oci, bundle)
        assert fingerprint(canary) == before, path


def test_a_root_that_is_a_symlink_is_taken_as_the_caller_wrote_it(root_oci):
    """The bundle is the caller's: root.path may be a symlink of his."""
    bundle = root_oci.bundle("/bin/echo", "here")
    (bundle.directory / "link").symlink_to("rootfs")
    bundle.spec["root"]["path"] = "link"
    assert root_oci.output(bundle) == "here\n"


@pytest.mark.parametrize("name", ["fifo", "device"])
def test_an_image_with_a_fifo_as_working_file_does_not_hang(root_oci, name):
    bundle = root_oci.bundle("/bin/true").without("/dev/shm")
    place = bundle.rootfs / "etc/resolv.conf"
    os.mkfifo(place) if name == "fifo" else os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(5, 1))
    source = root_oci.directory / "hosts"
    source.write_text("x")
    root_oci.output(bundle.mount("/etc/resolv.conf", source), timeout=60)  # nobody writes to it: who opens it waits for ever


def test_a_fifo_as_dev_console_is_covered_by_the_terminal(root_oci):
    """Nobody reads from it: who opens it to write waits for ever."""
    script = "[ -c /dev/console ] && echo terminal > /dev/console"
    bundle = root_oci.bundle(script=script).without("/dev", "/dev/shm", "/dev/mqueue")
    os.mkfifo(bundle.rootfs / "dev/console")
    bundle.process["terminal"] = True
    assert root_oci.output(bundle, timeout=60, stdin=subprocess.DEVNULL) == "terminal\n"
    assert stat.S_ISFIFO((bundle.rootfs / "dev/console").stat().st_mode)
