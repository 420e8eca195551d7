"""What a container, its image, or another user of the machine must not get."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import cratebox
from cratebox.engine import accounts
from cratebox.errors import InvalidValue, StorageError
from support.commands import Crate

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
NULL = Path("/dev/null")


def null() -> tuple[int, int, int]:
    info = NULL.stat()
    return stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid


def test_the_hosts_null_device_is_out_of_reach(root_box) -> None:
    before = null()
    root_box(
        "sh",
        "-c",
        "for f in /proc/keys /proc/interrupts /proc/timer_list /proc/self/fd/0 /dev/null; do chmod 600 $f; chown 77 $f; done",
    )
    assert null() == before


def test_a_masked_path_cannot_be_changed(box) -> None:
    assert "Read-only" in box("chmod", "644", "/proc/keys").stderr


def test_the_null_of_standard_input_works(box) -> None:
    assert box.run("sh", "-c", "cat; echo x > /dev/null; echo done") == "done"


@pytest.mark.parametrize("place", ["/proc", "/sys", "/dev", "/proc/sys"])
def test_an_image_cannot_lead_a_volume_over_what_protects_the_host(rootful: Crate, place: str) -> None:
    root = rootful.directory / "tree"
    for name in ("proc", "sys", "dev", "etc", "bin"):
        (root / name).mkdir(parents=True)
    (root / "data").symlink_to(place)
    volume = rootful.directory / "volume"
    volume.mkdir()
    said = rootful.fails("run", "--rm", "-v", f"{volume}:/data", f"rootfs:{root}", "true")
    assert "it leads to" in said
    assert not os.listdir(volume)


@ROOT
def test_without_cgroups_root_runs_nothing_that_could_open_devices(rootful: Crate, busybox_image) -> None:
    hidden = rootful.within(("unshare", "-m", "sh", "-c", 'umount -R -l /sys/fs/cgroup; exec "$@"', "sh"))
    said = hidden.fails("run", "--rm", str(busybox_image), "true")
    assert "cannot keep a container from the machine's devices" in said


@ROOT
@pytest.mark.parametrize("what", ["root", "state"])
def test_root_does_nothing_in_a_store_of_another_user(rootful: Crate, busybox_image, what: str) -> None:
    rootful.ok("create", "--name", "theirs", str(busybox_image), "true")
    rootful.state.mkdir(exist_ok=True)
    directory = rootful.root if what == "root" else rootful.state
    os.chown(directory, 12345, 12345)
    try:
        for verb in ("start", "rm", "stop", "kill", "inspect", "ps"):
            done = rootful(*((verb,) if verb == "ps" else (verb, "theirs")))
            assert done.returncode != 0
            assert "belongs to uid 12345" in done.stderr
    finally:
        os.chown(directory, 0, 0)


def test_a_fifo_as_group_file_is_no_group_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/group")
    assert accounts.read((str(tmp_path),), "etc/group") == b""


@ROOT
def test_a_device_as_passwd_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mknod(tmp_path / "etc/passwd", stat.S_IFCHR | 0o600, os.makedev(10, 237))  # loop-control
    assert accounts.read((str(tmp_path),), "etc/passwd") == b""


@pytest.mark.parametrize("name", ["../../outside", "a/b", "", "x", ".hidden", "a\0b"])
def test_a_program_cannot_name_a_container_out_of_the_store(tmp_path: Path, name: str) -> None:
    engine = cratebox.Engine(cratebox.Paths(root=str(tmp_path / "root"), state=str(tmp_path / "state"), config=""))
    with pytest.raises(InvalidValue, match="not a name"):
        engine.containers.create(cratebox.ContainerConfig(image="rootfs:/", command=("true",), name=name))
    assert not (tmp_path / "outside").exists()


def test_a_store_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o777)
    os.chmod(tmp_path / "root", 0o777)
    engine = cratebox.Engine(cratebox.Paths(root=str(tmp_path / "root"), state=str(tmp_path / "state"), config=""))
    with pytest.raises(StorageError, match="others can write"):
        engine.containers.list(all=True)
