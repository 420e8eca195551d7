"""The devices of a spec (config-linux.md, Devices and Default Devices)."""

from __future__ import annotations

import os
import stat

import pytest

SHOW = "stat -c '%n %F %t:%T %a %u:%g'"


def with_devices(oci, script: str, *devices, **options):
    bundle = oci.bundle(script=script, **options)
    bundle.linux["devices"] = list(devices)
    return bundle


def fails(oci, bundle) -> str:
    bundle.write()
    return oci.fails("run", "--bundle", bundle.directory, oci.name())


def test_devices_of_every_type_are_made(root_oci):
    bundle = with_devices(
        root_oci,
        SHOW + " /dev/c /dev/u /dev/b /dev/p /dev/plain",
        {"path": "/dev/c", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/u", "type": "u", "major": 1, "minor": 5, "fileMode": 0o4755},
        {"path": "/dev/b", "type": "b", "major": 7, "minor": 259, "fileMode": 0o060600},
        {"path": "/dev/p", "type": "p", "fileMode": 0o622},
        {"path": "/dev/plain", "type": "c", "major": 1, "minor": 7},
    )
    assert root_oci.output(bundle).splitlines() == [
        "/dev/c character special file 1:3 640 5:6",
        "/dev/u character special file 1:5 4755 0:0",
        "/dev/b block special file 7:103 600 0:0",
        "/dev/p fifo 0:0 622 0:0",
        "/dev/plain character special file 1:7 666 0:0",
    ]


def test_a_user_namespace_gets_the_nodes_of_the_host_and_fifos_of_its_own(oci):
    bundle = with_devices(
        oci,
        "head -c 3 /dev/deep/zero | wc -c; echo x > /dev/full 2>/dev/null || echo full; stat -c '%F %a' /dev/deep/pipe",
        {"path": "/dev/deep/zero", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 7},
        {"path": "/dev/deep/pipe", "type": "p", "fileMode": 0o640},
    )
    assert oci.output(bundle) == "3\nfull\nfifo 640\n"


def test_a_device_that_a_user_namespace_cannot_have_is_named(oci):
    if oci.kind == "root":
        pytest.skip("root makes it")
    bundle = with_devices(oci, "true", {"path": "/dev/x", "type": "c", "major": 240, "minor": 77})
    told = fails(oci, bundle)
    assert "cannot make /dev/x (c 240:77): a user namespace may not make device nodes" in told


def test_the_default_devices_are_there_and_those_of_the_spec_win(root_oci):
    names = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")
    bundle = with_devices(
        root_oci, SHOW + " -L " + " ".join(f"/dev/{name}" for name in names),
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600},
    )  # fmt: skip
    lines = dict(line.split(" ", 1) for line in root_oci.output(bundle).splitlines())
    assert {line.rpartition(" ")[0] for line in lines.values()} == {
        f"character special file {number} {mode}"
        for number, mode in (("1:3", 666), ("1:5", 600), ("1:7", 666), ("1:8", 666), ("1:9", 666), ("5:0", 666), ("5:2", 666))
    }


def test_the_links_of_dev_are_there(oci):
    out = oci.script("for n in fd stdin stdout stderr ptmx; do readlink /dev/$n; done").split()
    assert out == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]


# --- what is there already --------------------------------------------------------------------------------------------


@pytest.fixture
def without_dev(root_oci):
    """A bundle that mounts nothing at /dev: nodes go into the root itself."""
    bundle = root_oci.bundle(script=SHOW + " /dev/null /dev/x; echo gone > /dev/null")
    bundle.linux["devices"] = [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]
    return bundle.without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")


def test_without_a_mount_at_dev_the_nodes_are_made_in_the_root(root_oci, without_dev):
    assert [line.split()[:5] for line in root_oci.output(without_dev).splitlines()] == [
        [f"/dev/{name}", "character", "special", "file", "1:3"] for name in ("null", "x")
    ]


def test_a_node_that_is_there_already_stays_as_it_is(root_oci, without_dev):
    os.mknod(without_dev.rootfs / "dev/x", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    assert "/dev/x character special file 1:3 600 0:0" in root_oci.output(without_dev)


@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "dangling", "other", "block", "fifo"])
@pytest.mark.parametrize("name", ["null", "x"])
def test_something_else_in_its_place_is_refused(root_oci, without_dev, kind, name):
    place = without_dev.rootfs / "dev" / name
    if kind == "file":
        place.write_text("fake")
    elif kind == "directory":
        place.mkdir()
    elif kind in ("symlink", "dangling"):
        place.symlink_to("/etc/passwd" if kind == "symlink" else "/nowhere")
    else:
        node, number = {"other": (stat.S_IFCHR, 1), "block": (stat.S_IFBLK, 3), "fifo": (stat.S_IFIFO, 0)}[kind]
        os.mknod(place, node | 0o666, os.makedev(1, number) if number else 0)
    assert f"cannot make /dev/{name} (c 1:3): something else is there already" in fails(root_oci, without_dev)
    assert not (without_dev.rootfs / "nowhere").exists()


# --- a /dev, or a directory, of the host's ----------------------------------------------------------------------------


def test_a_dev_that_is_bound_from_the_host_is_left_alone(oci):
    bundle = oci.bundle(script="ls /dev").without("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    bundle.linux["maskedPaths"] = []
    dev = bundle.directory / "dev"
    dev.mkdir()
    (dev / "mark").write_text("")
    oci.give(bundle.directory)
    assert oci.output(bundle.mount("/dev", dev, "rbind")) == "mark\n"
    assert [one.name for one in dev.iterdir()] == ["mark"]


def test_a_node_in_a_directory_of_the_hosts_is_made_there(root_oci):
    """As with runc: the spec names a place, and that is where it is."""
    shared = root_oci.directory / "shared"
    shared.mkdir()
    bundle = with_devices(root_oci, "[ -c /s/deep/x ]", {"path": "/s/deep/x", "type": "c", "major": 1, "minor": 3})
    root_oci.output(bundle.mount("/s", shared))
    assert stat.S_ISCHR((shared / "deep/x").stat().st_mode)


def test_no_node_is_made_where_the_hosts_directory_is_read_only(root_oci):
    shared = root_oci.directory / "shared"
    shared.mkdir()
    bundle = with_devices(root_oci, "true", {"path": "/s/x", "type": "c", "major": 1, "minor": 3})
    assert "cannot make /s/x (c 1:3): Read-only file system" in fails(root_oci, bundle.mount("/s", shared, "bind", "ro"))
    assert list(shared.iterdir()) == []
