"""Devices of the machine in a container: --device, --device-cgroup-rule, and CDI by made-up files."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path

import pytest


def test_a_device_is_there_and_can_be_opened(root_box) -> None:
    assert "5, 1" not in root_box.run("ls", "-l", "/dev")
    assert "Operation not permitted" in root_box.fails(
        "--cap-add", "MKNOD", "@", "sh", "-c", "mknod /tmp/k b 7 0; cat /tmp/k", code=1
    )
    said = root_box.run(
        "--cap-add",
        "SYSLOG",
        "--device",
        "/dev/kmsg",
        "@",
        "sh",
        "-c",
        "ls -l /dev/kmsg; dd if=/dev/kmsg bs=8192 count=1 2>&1 >/dev/null",
    )
    assert "1,  11" in said
    assert "1+0 records in" in said.replace("0+1", "1+0")


def test_a_device_may_have_another_place(box) -> None:
    assert "1,   5" in box.run("--device", "/dev/zero:/dev/nothing", "@", "ls", "-l", "/dev/nothing")
    assert box.run("--device", "/dev/zero:/dev/a/b/zero", "@", "sh", "-c", "head -c 3 /dev/a/b/zero | wc -c") == "3"


def test_a_device_may_be_read_only(root_box) -> None:
    said = root_box.fails(
        "--cap-add", "SYSLOG", "--device", "/dev/kmsg:/dev/kmsg:r", "@", "sh", "-c", "echo x > /dev/kmsg", code=1
    )
    assert "Operation not permitted" in said


def test_a_directory_is_all_devices_below_it(root_box, word: str) -> None:
    directory = Path("/dev") / word
    directory.mkdir()
    try:
        os.mknod(directory / "one", 0o020666, os.makedev(1, 5))
        os.mknod(directory / "two", 0o020666, os.makedev(1, 3))
        (directory / "file").touch()
        assert root_box.run("--device", f"/dev/{word}", "@", "ls", f"/dev/{word}").split() == ["one", "two"]
        assert root_box.run("--device", f"/dev/{word}:/dev/inside", "@", "ls", "/dev/inside").split() == ["one", "two"]
    finally:
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


def test_a_rule_lets_devices_be_opened_that_the_container_makes(root_box) -> None:
    script = "mknod /tmp/k c 1 11 && dd if=/tmp/k bs=8192 count=1 2>&1 >/dev/null"
    assert "Operation not permitted" in root_box("--cap-add", "SYSLOG", "@", "sh", "-c", script).stdout
    assert "records in" in root_box.run("--cap-add", "SYSLOG", "--device-cgroup-rule", "c 1:11 r", "@", "sh", "-c", script)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--device", "/dev/not-there"), "no such file"),
        (("--device", "/etc/passwd"), "is no device"),
        (("--device", "/etc"), "no device below"),
        (("--device", "relative"), "not a device"),
        (("--device", "/dev/null:relative"), "--device is PATH"),
        (("--device", "/dev/null:/dev/x:rx"), "--device is PATH"),
        (("--device", "vendor.com/class="), "not a device"),
        (("--device-cgroup-rule", "c 1:3"), "TYPE MAJOR:MINOR ACCESS"),
        (("--device-cgroup-rule", "x 1:3 r"), "TYPE MAJOR:MINOR ACCESS"),
        (("--gpus", "some"), "--gpus some is not there"),
    ],
)
def test_what_is_no_device_is_refused(box, flags: tuple[str, ...], why: str) -> None:
    assert why in box.fails(*flags, "@", "true")


# --- CDI -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cdi(root_box, tmp_path: Path):
    """A function that runs crate with these files in /etc/cdi, in a mount namespace of its own."""
    directory = tmp_path / "cdi"
    directory.mkdir()

    def within(**files: object):
        for name, content in files.items():
            path = directory / (name.replace("_", "."))
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            path.chmod(0o644)
        place = shlex.quote(str(directory))
        copied = "mount -t tmpfs none /mnt && cp -a /etc /mnt/etc && mount --bind /mnt/etc /etc && mkdir -p /etc/cdi"
        script = f'mount -t tmpfs none /etc/cdi 2>/dev/null || {{ {copied}; }}; cp -p {place}/* /etc/cdi/ && exec "$@"'
        return root_box.crate.within(("unshare", "--mount", "sh", "-c", script, "sh"))

    return within


def spec(tmp_path: Path, **edits: object) -> dict[str, object]:
    mounted = tmp_path / "library"
    mounted.write_text("the library\n")
    return {
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/thing",
        "containerEdits": {"env": ["OF_ALL=yes"]},
        "devices": [
            {
                "name": "one",
                "containerEdits": {
                    "deviceNodes": [{"path": "/dev/thing0", "hostPath": "/dev/kmsg", "permissions": "r"}],
                    "mounts": [
                        {"hostPath": str(mounted), "containerPath": "/usr/lib/thing", "options": ["ro", "nosuid", "bind"]}
                    ],
                    "env": ["THING=one"],
                    "hooks": [
                        {"hookName": "createContainer", "path": "/bin/sh", "args": ["sh", "-c", f"echo ran > {tmp_path}/hook"]}
                    ],
                    **edits,
                },
            },
            {"name": "two", "containerEdits": {"env": ["THING=two"]}},
        ],
    }


def test_a_device_of_cdi_brings_nodes_mounts_variables_and_hooks(root_box, cdi, tmp_path: Path) -> None:
    crate = cdi(thing_json=spec(tmp_path))
    said = crate.ok(
        "run",
        "--rm",
        "--device",
        "vendor.com/thing=one",
        root_box.image,
        "sh",
        "-c",
        "ls -l /dev/thing0; cat /usr/lib/thing; env",
    )
    assert "1,  11" in said
    assert "the library" in said
    assert {"OF_ALL=yes", "THING=one"} <= set(said.split())
    assert (tmp_path / "hook").read_text() == "ran\n"


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("pause", "paused"),
        ("kill", "exited"),
        ("stop", "exited"),
        ("rm -f", ""),
        ("update --memory 64m", "running"),
        ("start", "running"),
    ],
)
def test_who_comes_while_a_container_is_made_waits_until_its_program_runs(
    root_box, cdi, tmp_path: Path, until, verb: str, status: str
) -> None:
    """Each is as if it had come after the start, which succeeds."""
    reached, go_on = tmp_path / "reached", tmp_path / "go-on"
    script = f"touch {reached}; until [ -e {go_on} ]; do sleep 0.02; done"
    hook = {"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", script]}
    crate = cdi(thing_json=spec(tmp_path, hooks=[hook]))
    crate.ok("create", "--name", "web", "--device", "vendor.com/thing=one", root_box.image, "sleep", "1000")
    starting = crate.start("start", "web")
    try:
        until(reached.exists)
        other = crate.start(*verb.split(), "web")
        time.sleep(0.5)
        assert (starting.poll(), other.poll()) == (None, None)
        go_on.touch()
        assert starting.wait(60) == 0, starting.communicate()
        assert other.wait(60) == 0, other.communicate()
        assert (root_box.status("web") if status else root_box.crate.ok("ps", "-aq")) == status
    finally:
        go_on.touch()
        crate("rm", "-f", "web")


def test_devices_of_cdi_are_found_by_name(root_box, cdi, tmp_path: Path) -> None:
    crate = cdi(thing_json=spec(tmp_path), nvidia_json={**spec(tmp_path), "kind": "nvidia.com/gpu"})
    assert "THING=two" in crate.ok("run", "--rm", "--device", "vendor.com/thing=two", root_box.image, "env").split()
    said = crate.fails("run", "--rm", "--device", "vendor.com/thing=three", root_box.image, "true")
    assert "no device vendor.com/thing=three" in said
    assert "there are one, two of vendor.com/thing" in said
    assert "/etc/cdi have no other.com/thing" in crate.fails(
        "run", "--rm", "--device", "other.com/thing=x", root_box.image, "true"
    )
    assert "THING=two" in crate.ok("run", "--rm", "--gpus", "device=two", root_box.image, "env").split()
    assert "no device nvidia.com/gpu=all" in crate.fails("run", "--rm", "--gpus", "all", root_box.image, "true")


def test_a_damaged_or_foreign_file_of_cdi_is_refused(root_box, cdi, tmp_path: Path) -> None:
    words = ("run", "--rm", "--device", "vendor.com/thing=one", root_box.image, "true")
    assert "/etc/cdi/thing.json" in cdi(thing_json="{").fails(*words)
    assert "cdiVersion" in cdi(thing_json={"kind": "vendor.com/thing", "cdiVersion": "9.0.0"}).fails(*words)
    assert "intelRdt" in cdi(thing_json=spec(tmp_path, intelRdt={"closID": "x"})).fails(*words)
    assert "no hooks" in cdi(thing_json=spec(tmp_path, hooks=[{"hookName": "never", "path": "/bin/true"}])).fails(*words)
    crate = cdi(thing_json=spec(tmp_path))
    (tmp_path / "cdi/thing.json").chmod(0o666)
    assert "could have been written by others" in crate.fails(*words)


def test_yaml_takes_a_parser(root_box, cdi) -> None:
    said = cdi(thing_yaml="kind: vendor.com/thing\ncdiVersion: 0.6.0\ndevices: [{name: one}]\n")(
        "run", "--rm", "--device", "vendor.com/thing=one", root_box.image, "true"
    )
    assert said.returncode == 0 or "PyYAML" in said.stderr
