"""The images that are measured with, made once a machine and kept in the tests' cache."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import random
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from support import debian
from support.images import PATH, Image, Layer, Tree, busybox_image, busybox_tree

_LARGE = ("gcc", "git", "python3-dev", "python3-numpy", "python3-django", "golang-src")


def small() -> Image:
    """One layer of about 8 MB, as Alpine's: busybox and some libraries' worth of bytes."""
    noise = random.Random(1)
    tree = busybox_tree().directory("lib")
    for number in range(60):
        tree.file(f"lib/part-{number}", noise.randbytes(60_000) + bytes(40_000))
    return Image((tree.layer(),), busybox_image().config, debian.architecture())


def large() -> Image:
    """A Debian with a compiler, Python and Go's library: about 690 MB in 36,500 files, in five layers."""
    directory = debian.CACHE / "large"
    _kept(directory, _make_large)
    layers = json.loads((directory / "layers.json").read_text())
    return Image(
        tuple(Layer((directory / name).read_bytes(), diff_id) for name, diff_id in layers),
        {"Env": [PATH], "Cmd": ["bash"]},
        debian.architecture(),
    )


def wide() -> Image:
    """Fifty layers of two hundred small files."""
    layers = [busybox_tree().layer()]
    for number in range(50):
        tree = Tree().directory("wide", f"wide/{number}")
        for file in range(200):
            tree.file(f"wide/{number}/{file}", f"{number} {file}\n" * 20)
        layers.append(tree.layer())
    return Image(tuple(layers), busybox_image().config, debian.architecture())


def huge() -> Image:
    """One layer with one file of a gigabyte, half of it noise: compressing it takes a minute, so it is kept."""
    directory = debian.CACHE / "huge"
    _kept(directory, _make_huge)
    diff_id = (directory / "diff_id").read_text()
    return Image((Layer((directory / "layer.tar.gz").read_bytes(), diff_id),), busybox_image().config, debian.architecture())


SHAPES = {"small": small, "large": large, "wide": wide, "huge": huge}


def _kept(directory: Path, make: Callable[[Path], None]) -> None:
    """Have `make` fill `directory`, once a machine."""
    debian.CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(directory.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if directory.exists():
            return
        partial = directory.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        make(partial)
        os.rename(partial, directory)


def _make_huge(directory: Path) -> None:
    block = random.Random(2).randbytes(1 << 20) + bytes(1 << 20)
    layer = busybox_tree().file("huge", block * 512).layer()
    (directory / "layer.tar.gz").write_bytes(layer.data)
    (directory / "diff_id").write_text(layer.diff_id)


def _make_large(directory: Path) -> None:
    layers = []
    with tarfile.open(debian.tarball("large", _LARGE)) as whole:
        for number, members in enumerate(_shares(whole.getmembers(), 5)):
            plain = _tar_of(whole, members)
            layer = Layer.of_tar(plain, level=6)
            (directory / f"{number}.tar.gz").write_bytes(layer.data)
            layers.append((f"{number}.tar.gz", "sha256:" + hashlib.sha256(plain).hexdigest()))
    (directory / "layers.json").write_text(json.dumps(layers))


def _shares(members: list[tarfile.TarInfo], count: int) -> list[list[tarfile.TarInfo]]:
    """Split `members` into layers of about one size; a hardlink goes where its target is, a directory where its files are."""
    total = sum(member.size for member in members)
    shares: list[list[tarfile.TarInfo]] = [[] for _ in range(count)]
    directories = {member.name: member for member in members if member.isdir()}
    place: dict[str, int] = {}
    shown: set[tuple[int, str]] = set()
    done = 0
    for member in members:
        number = place[member.linkname] if member.islnk() else min(count - 1, done * count // max(total, 1))
        place[member.name] = number
        done += member.size
        for parent in [str(p) for p in reversed(Path(member.name).parents)]:
            for name in (parent, "./" + parent, parent + "/"):
                if name in directories and (number, name) not in shown:
                    shown.add((number, name))
                    shares[number].append(directories[name])
        if (number, member.name) not in shown:
            shown.add((number, member.name))
            shares[number].append(member)
    return shares


def _tar_of(whole: tarfile.TarFile, members: list[tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            tar.addfile(member, whole.extractfile(member) if member.isreg() else None)
    return buffer.getvalue()
