"""Flags that say one small thing about a container's process, its files or its words."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest


def test_it_is_in_further_groups(box) -> None:
    assert set(box.run("--group-add", "wheel", "--group-add", "77", "@", "id", "-G").split()) >= {"0", "10", "77"}
    assert "no group 'nowhere'" in box.fails("--group-add", "nowhere", "@", "true")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who gives a user more groups")
def test_a_user_may_keep_his_own_groups(user_box) -> None:
    """And with them the way to what only they may write to; in the container they have no name and no number."""
    group = next(one.gr_gid for one in grp.getgrall() if one.gr_gid not in {0, user_box.crate.person.gid})
    shared = user_box.crate.directory / "shared"
    shared.mkdir(mode=0o770)
    shared.chmod(0o770)
    os.chown(shared, 0, group)
    with_group = {"extra_groups": [group]}
    flags = ("-v", f"{shared}:/shared", "@", "touch", "/shared/made")
    assert "Permission denied" in user_box(*flags, **with_group).stderr
    user_box.run("--group-add", "keep-groups", *flags, **with_group)
    name = user_box.detached("--group-add", "keep-groups", *flags[:3], "sleep", "100", **with_group)
    user_box.crate.ok("exec", name, "touch", "/shared/more", **with_group)
    assert sorted(os.listdir(shared)) == ["made", "more"]
    assert "stands alone" in user_box.fails("--group-add", "keep-groups", "--group-add", "7", "@", "true")


def test_root_does_not_keep_his_groups(root_box) -> None:
    assert "keep-groups is for users" in root_box.fails("--group-add", "keep-groups", "@", "true")


def test_the_pid_is_in_a_file_after_each_start(box, until) -> None:
    place = box.crate.person.directory(box.crate.directory / "pids")
    box.detached("--name", "web", "--pidfile", "pids/web", "--restart", "always", "@", "sleep", "100", cwd=box.crate.directory)
    first = (place / "web").read_text()
    assert first == box.crate.ok("inspect", "-f", "{{.State.Pid}}", "web")
    os.kill(int(first), 9)
    until(lambda: (place / "web").read_text() != first)
    assert (place / "web").read_text() == box.crate.ok("inspect", "-f", "{{.State.Pid}}", "web")
    assert os.listdir(place) == ["web"]
    assert box.crate.ok("inspect", "-f", "{{.PidFile}}", "web") == str(place / "web")


def test_a_pid_that_cannot_be_written_keeps_the_container_from_running(box) -> None:
    said = box.fails("--pidfile", "/proc/nothing/pid", "@", "echo", "no")
    assert "cannot write the container's pid to /proc/nothing/pid: No such file or directory" in said
    assert box.crate.ok("ps", "-aq") == ""


def test_labels_come_from_files_as_well(box) -> None:
    file = box.crate.directory / "labels"
    file.write_text("# a comment\na=1\nbare\nb=of the file\n")
    name = box.create("--label-file", str(file), "--label", "b=2", "@", "true")
    document = box.crate.json("inspect", name)
    assert {"a": "1", "b": "2", "bare": ""}.items() <= document[0]["Config"]["Labels"].items()


@pytest.mark.parametrize("flag", ["--env-file", "--label-file"])
def test_a_file_that_may_have_no_end_is_refused_at_once_and_the_output_of_a_command_is_read(box, flag: str) -> None:
    fifo = box.crate.directory / "fifo"
    os.mkfifo(fifo, 0o666)
    for path in (str(fifo), "/dev/zero"):
        assert f"file {path}: not a regular file" in box.fails(flag, path, "@", "true", timeout=90)
    crate = " ".join(box.crate.argv("create", flag, "/dev/fd/3", box.image, "env"))
    name = box.crate.person.run(["sh", "-c", f"echo KEY=value | {crate} 3<&0"], env=box.crate.environment).stdout.strip()
    config = box.crate.json("inspect", name)[0]["Config"]
    assert "KEY=value" in config["Env"] or config["Labels"]["KEY"] == "value"


def test_annotations_are_in_the_spec(box) -> None:
    name = box.create("--annotation", "org.example.a=b", "@", "true")
    box.crate.ok("start", "-a", name)
    assert '"org.example.a":"b"' in (box.crate.root / "containers" / name / "config.json").read_text()


def test_its_files_get_the_permissions_that_the_umask_leaves(box) -> None:
    assert box.run("--umask", "0077", "@", "sh", "-c", "umask; touch /tmp/x; ls -l /tmp/x").split()[:2] == [
        "0077",
        "-rw-------",
    ]
    assert box.run("sh", "-c", "umask") == "0022"
    assert "--umask" in box.fails("--umask", "9", "@", "true")


def test_variables_of_the_caller_and_of_the_image(box) -> None:
    said = box.run("--env-host", "-e", "B=flag", "@", "env", env={"A": "host", "B": "host"}).split("\n")
    assert {"A=host", "B=flag"} <= set(said)
    assert not [line for line in box.run("--unsetenv", "PATH", "@", "/bin/env").split("\n") if line == "PATH=/bin:/usr/bin"]


def test_the_time_zone(box) -> None:
    if not Path("/usr/share/zoneinfo/Asia/Tokyo").is_file():
        pytest.skip("this machine has no time zones")
    assert box.run("--tz", "Asia/Tokyo", "@", "date", "+%z") == "+0900"
    assert box.run("--tz", "local", "@", "date", "+%z")
    for wrong in ("Nowhere/Land", "../../../etc/passwd", "."):
        assert "knows no such time zone" in box.fails("--tz", wrong, "@", "true")


def test_a_time_zone_that_is_not_there_is_refused_before_there_is_a_container(box) -> None:
    for zone in ("Nonsense", "../../../etc/passwd"):
        assert "knows no such time zone" in box.crate.fails("create", "--tz", zone, box.image, "true")
    assert box.crate.ok("ps", "-aq") == ""


def test_the_mounts_of_another_container(box) -> None:
    shared = box.crate.person.directory(box.crate.directory / "shared")
    (shared / "word").write_text("hello\n")
    os.chmod(shared / "word", 0o666)
    box.create("--name", "data", "-v", f"{shared}:/data", "--tmpfs", "/memory", "@", "true")
    assert box.run("--volumes-from", "data", "@", "cat", "/data/word") == "hello"
    assert "tmpfs" in box.run("--volumes-from", "data", "@", "df", "/memory")
    box.run("--volumes-from", "data", "@", "touch", "/data/new")
    assert "Read-only" in box.fails("--volumes-from", "data:ro", "@", "touch", "/data/newer", code=1)
    assert box.run("--volumes-from", "data", "--tmpfs", "/data", "@", "ls", "/data") == ""
    assert "no container nowhere" in box.fails("--volumes-from", "nowhere", "@", "true")
    assert "--volumes-from" in box.fails("--volumes-from", "data:x", "@", "true")


def test_paths_are_hidden_or_shown(box) -> None:
    assert box.run("--security-opt", "mask=/proc/version", "@", "cat", "/proc/version") == ""
    assert (
        box.run("--security-opt", "unmask=/proc/keys", "@", "sh", "-c", "test -s /proc/timer_list; wc -c < /proc/timer_list")
        == "0"
    )
    assert "ro," not in box.run("--security-opt", "systempaths=unconfined", "@", "grep", " /proc", "/proc/mounts")


def test_apparmor_takes_apparmor(box) -> None:
    if Path("/sys/module/apparmor/parameters/enabled").exists():
        pytest.skip("this machine has AppArmor")
    assert "no AppArmor" in box.fails("--security-opt", "apparmor=docker-default", "@", "true")


@pytest.mark.parametrize("flag", ["--link", "--runtime", "--storage-opt"])
def test_what_is_not_there_is_refused_by_name(box, flag: str) -> None:
    assert f"{flag} is not there yet" in box.fails(flag, "x", "@", "true")


def test_another_reaper(box) -> None:
    assert "--init-path /not/there" in box.fails("--init-path", "/not/there", "@", "true")
