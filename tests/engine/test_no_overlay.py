"""Where overlayfs is refused, a container gets a copy of its image, and that is said once."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cratebox.engine.flatten import flatten
from support.commands import Crate

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts of this form and mounts take root")


@pytest.fixture
def on_overlay(rootful: Crate) -> Callable[..., str]:
    """Run a shell script whose store lies on an overlay, which can be no overlay's upper directory, in a mount namespace of
    its own. `crate` in it is the command."""
    base = rootful.directory / "ov"
    for name in ("lower", "upper", "work", "on"):
        (base / name).mkdir(parents=True)
    mount = f"mount -t overlay overlay -o lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work {base}/on"

    def run(script: str) -> str:
        crate = f'crate() {{ {rootful.executable} --root {base}/on/root --state {base}/state "$@"; }}'
        done = rootful.person.run(
            ["unshare", "-m", "sh", "-ec", f"{mount}; {crate}; {script}"], env={"CRATE_NETWORK": "host"}, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return str(done.stdout + done.stderr)

    return run


@ROOT
def test_a_container_runs_from_a_copy_and_keeps_its_changes(on_overlay, busybox_image) -> None:
    said = on_overlay(
        f"crate run --name one {busybox_image} sh -c 'echo kept > /file'; crate start one cat /file; crate rm one"
    )
    assert "kept" in said
    assert said.count("gets a copy of its image") == 1


@ROOT
def test_the_copy_of_a_container_that_is_removed_goes_too(on_overlay, busybox_image, rootful) -> None:
    containers = rootful.directory / "ov/on/root/containers"
    twice = f"crate run --rm {busybox_image} true; crate run --rm {busybox_image} true"
    on_overlay(f'{twice}; for _ in $(seq 100); do [ -z "$(ls {containers})" ] && exit; sleep 0.1; done; exit 1')


@ROOT
def test_a_whiteout_hides_what_lower_layers_had(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    for layer in (low, high):
        (layer / "d").mkdir(parents=True)
    (low / "d/gone").write_text("x")
    (low / "d/stays").write_text("y")
    os.mknod(high / "d/gone", stat.S_IFCHR | 0o600, 0)
    flatten((str(low), str(high)), str(tmp_path / "all"))
    assert sorted(os.listdir(tmp_path / "all/d")) == ["stays"]


@ROOT
def test_an_opaque_directory_hides_all_of_the_lower_one(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    for layer in (low, high):
        (layer / "d").mkdir(parents=True)
    (low / "d/old").write_text("x")
    (high / "d/new").write_text("y")
    os.setxattr(high / "d", "trusted.overlay.opaque", b"y")
    flatten((str(low), str(high)), str(tmp_path / "all"))
    assert os.listdir(tmp_path / "all/d") == ["new"]
    assert not os.listxattr(tmp_path / "all/d")


def test_links_modes_times_and_holes_are_kept(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir(mode=0o750)
    (layer / "file").write_text("data")
    os.link(layer / "file", layer / "again")
    os.symlink("/nowhere", layer / "link")
    os.chmod(layer / "file", 0o640)
    os.utime(layer / "file", ns=(1, 1_000_000_001))
    with open(layer / "sparse", "wb") as file:
        file.truncate(1 << 30)
    flatten((str(layer),), str(tmp_path / "all"))
    file, again = os.stat(tmp_path / "all/file"), os.stat(tmp_path / "all/again")
    assert (file.st_ino, file.st_nlink, stat.S_IMODE(file.st_mode), file.st_mtime_ns) == (again.st_ino, 2, 0o640, 1_000_000_001)
    assert os.readlink(tmp_path / "all/link") == "/nowhere"
    assert os.stat(tmp_path / "all/sparse").st_size == 1 << 30
    assert os.stat(tmp_path / "all/sparse").st_blocks < 100


def test_a_file_takes_the_place_of_a_directory_and_back(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    (low / "a").mkdir(parents=True)
    (low / "a/x").write_text("x")
    (low / "b").write_text("b")
    high.mkdir()
    (high / "a").write_text("now a file")
    (high / "b").mkdir()
    flatten((str(low), str(high)), str(tmp_path / "all"))
    assert (tmp_path / "all/a").read_text() == "now a file"
    assert (tmp_path / "all/b").is_dir()
