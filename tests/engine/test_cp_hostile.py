"""`crate cp` with containers that mean harm, and with what is mounted in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.canary import fingerprint


@pytest.fixture
def here(box) -> Path:
    """The home of the person, with some files in it."""
    return _filled(box)


@pytest.fixture
def root_here(root_box) -> Path:
    return _filled(root_box)


def _filled(box) -> Path:  # type: ignore[no-untyped-def]
    home = box.crate.person.home
    (home / "tree/sub").mkdir(parents=True)
    for name in ("f", "sub/g"):
        (home / "tree" / name).write_text(name[-1])
    for path in (home / "tree", *(home / "tree").rglob("*")):
        os.chown(path, box.crate.person.uid, box.crate.person.gid)
    return Path(home)


def test_symlinks_of_the_container_lead_nowhere_else(box, here) -> None:
    """CVE-2018-15664: below the container's root, whatever its symlinks say."""
    box.create("--name", "web", "@", "true")
    secret = here / "secret"
    secret.write_text("of the host")
    links = Path(here / "links")
    links.mkdir()
    (links / "abs").symlink_to(secret)
    (links / "up").symlink_to("../../../../../../../../" + str(secret))
    (links / "dir").symlink_to(here)
    os.chown(links, box.crate.person.uid, box.crate.person.gid)
    box.crate.ok("cp", "links", "web:/links")
    for name in ("abs", "up"):
        assert "no such file" in box.crate.fails("cp", "-L", f"web:/links/{name}", "stolen")
        box.crate.fails("cp", "tree/f", f"web:/links/{name}")
    assert "is not there" in box.crate.fails("cp", "tree/f", "web:/links/dir/planted")
    assert secret.read_text() == "of the host"
    assert not (here / "planted").exists()


def test_volumes_and_tmpfs_are_seen(box, here) -> None:
    box.detached("--name", "mounted", "-v", f"{here}/tree:/srv", "--tmpfs", "/tmp", "@", "sleep", "1000")
    box.crate.ok("cp", "tree/f", "mounted:/tmp/x")
    box.crate.ok("cp", "mounted:/tmp/x", "back")
    box.crate.ok("cp", "mounted:/srv/sub/g", "back")
    assert (here / "back").read_text() == "g"


def test_a_paused_container_is_copied_from(root_box, root_here) -> None:
    root_box.detached("--name", "still", "@", "sleep", "1000")
    root_box.crate.ok("pause", "still")
    root_box.crate.ok("cp", "still:/etc/passwd", "x")
    root_box.crate.ok("unpause", "still")


def test_a_container_that_exchanges_names_meanwhile_gets_nothing_of_the_hosts(root_box, root_here, scratch) -> None:
    canary = scratch / "canary-of-cp"
    (canary / "x").mkdir(parents=True)
    (canary / "x/f").write_text("of the host")
    before = fingerprint(canary)
    script = f"mkdir -p /a/x; ln -s {canary} /link; cd /; while :; do mv a b; mv link a; mv a link; mv b a; done"
    root_box.detached("--name", "evil", "@", "sh", "-c", script)
    for _ in range(12):
        root_box.crate("cp", "tree/.", "evil:/a")
        root_box.crate("cp", "evil:/a/x", "out")
    assert fingerprint(canary) == before
    assert not [path for path in (root_here / "out").rglob("*") if path.is_file() and path.read_text() == "of the host"]


def test_no_program_of_the_image_runs(box, here) -> None:
    fake = "for n in tar cp sh ls; do printf '#!/fake\\ntouch /ran\\n' > /bin/new; done; exec sleep 1000"
    box.detached("--name", "fake", "@", "sh", "-c", fake)
    box.crate.ok("cp", "fake:/etc", "etc")
    box.crate.ok("cp", "tree", "fake:/srv")
    assert box.crate("exec", "fake", "test", "-e", "/ran").returncode == 1


def test_a_read_only_root_takes_nothing(root_box, root_here) -> None:
    root_box.create("--name", "fixed", "--read-only", "@", "true")
    assert "Read-only" in root_box.crate.fails("cp", "tree/f", "fixed:/x")


def test_devices_and_set_user_id_bits_do_not_come_out_unasked(root_box, root_here) -> None:
    root_box.detached("--name", "made", "@", "sleep", "1000")
    script = "mkdir /data; mknod /data/dev b 8 0; cp /bin/busybox /suid; chmod 4755 /suid"
    root_box.crate.ok("exec", "made", "sh", "-c", script)
    assert "is a device" in root_box.crate.fails("cp", "made:/data", "out")
    root_box.crate.ok("cp", "made:/suid", "plain")
    assert (root_here / "plain").stat().st_mode & 0o7777 == 0o755
    root_box.crate.ok("cp", "-a", "made:/suid", "kept")
    assert (root_here / "kept").stat().st_mode & 0o7777 == 0o4755
