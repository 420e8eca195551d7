"""What `diff` and `export` say of a container, beside what Docker's say of one that ran the same script."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

import pytest

from support.engines import Docker
from support.ready import Ready

pytestmark = pytest.mark.xdist_group("docker")
ENGINE = "docker"

SCRIPTS = (
    "true",
    "echo x > /etc/new; echo x >> /etc/passwd; rm /etc/group",
    "rm -r /home",
    "rm -r /home; mkdir /home",
    "rm -r /home; mkdir -p /home/alice/sub",
    "rm -r /home; echo x > /home",
    "rm /etc/passwd; mkdir -p /etc/passwd/x",
    "chmod 700 /home; chown 5 /etc/group; touch -d 2001-01-01 /etc/passwd",
    ": >> /etc/passwd",
    "mkdir -p /a/b/c; ln -s x /a/link; mkfifo /a/fifo; mknod /a/null c 1 3; echo x > /a/file; ln /a/file /a/hard",
    "mv /home /elsewhere; rm /etc/group; ln /etc/passwd /etc/group",
)


def test_diff_has_dockers_lines(docker: Docker, image: str, root_box: Ready) -> None:
    crate, own = root_box.crate, root_box.image
    for number, script in enumerate(SCRIPTS):
        name = f"diff-{os.urandom(3).hex()}-{number}"
        docker("run", "--name", name, "--network", "none", image, "sh", "-c", script)
        crate("run", "--name", name, "--network", "none", own, "sh", "-c", script)
        try:
            # Docker's order of siblings is another one each time.
            assert sorted(crate.ok("diff", name).splitlines()) == sorted(docker.ok("diff", name).splitlines()), script
        finally:
            docker("rm", "-f", name)


def test_export_has_dockers_files(docker: Docker, image: str, root_box: Ready) -> None:
    crate, own = root_box.crate, root_box.image
    name, script = f"export-{os.urandom(3).hex()}", "; ".join(SCRIPTS[-2:])
    docker("run", "--name", name, "--network", "none", image, "sh", "-c", script)
    crate("run", "--name", name, "--network", "none", own, "sh", "-c", script)
    try:
        theirs, mine = (engine("export", name, text=False, errors=None).stdout for engine in (docker, crate))
    finally:
        docker("rm", "-f", name)
    assert shape(mine) == shape(theirs)


# Made by each in every container, to mount on.
FURNITURE = (".dockerenv", "dev/console", "dev/pts", "dev/shm", "etc/mtab", "etc/hosts", "etc/hostname", "etc/resolv.conf")


def shape(raw: bytes) -> dict[str, tuple[Any, ...]]:
    """What each member is, save its time; of files with several names only that there are several."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        return {path: what for path, what in _members(archive).items() if path not in FURNITURE}


def _members(archive: tarfile.TarFile) -> dict[str, tuple[Any, ...]]:
    linked = {one.linkname for one in archive if one.islnk()} | {one.name for one in archive if one.islnk()}
    return {
        one.name: (
            b"linked" if one.name in linked else one.type,
            one.mode & 0o7777,
            one.uid,
            one.gid,
            0 if one.name in linked else one.size,
            one.linkname if one.issym() else "",
            (one.devmajor, one.devminor) if one.ischr() else None,
        )
        for one in archive
    }
