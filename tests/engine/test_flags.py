"""The flags of create and run, one by one, in a real container."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from support.commands import Crate

# --- the process -----------------------------------------------------------------------------------------------------


def test_variables_come_from_the_image_then_the_files_then_the_flags(crate: Crate, busybox_base, put) -> None:
    path = ["PATH=/bin:/usr/bin", "A=image", "B=image", "C=image"]
    box = put(crate, busybox_base.changed(Env=path))
    file = crate.directory / "env"
    file.write_text("# a comment\nB=file\nC=file\nD='quoted' \n")
    said = box.run("--env-file", str(file), "-e", "C=flag", "-e", "E=", "@", "env").splitlines()
    assert {"A=image", "B=file", "C=flag", "D='quoted' ", "E="} <= set(said)


def test_a_variable_without_a_value_is_the_callers(box) -> None:
    said = box.run("-e", "MINE", "-e", "NOT_THERE", "@", "env", env={"MINE": "of the caller", "OTHER": "x"}).splitlines()
    assert "MINE=of the caller" in said
    assert not [line for line in said if line.startswith(("NOT_THERE", "OTHER"))]


def test_nothing_of_the_callers_environment_is_inside(box) -> None:
    said = box.run("env", env={"SECRET": "x", "LD_PRELOAD": "", "PYTHONPATH": "/tmp"}).splitlines()
    assert {line.partition("=")[0] for line in said} <= {"PATH", "HOSTNAME", "HOME", "PWD", "SHLVL", "OLDPWD"}


def test_a_variable_of_the_image_without_a_value_pulls_nothing_in(crate: Crate, busybox_base, put) -> None:
    box = put(crate, busybox_base.changed(Env=["PATH=/bin", "SECRET", "=x", "", "\x1b[31m=red"]))
    said = box.run("env", env={"SECRET": "of the host"})
    assert "of the host" not in said
    assert "SECRET" not in said


def test_home_is_that_of_the_user_unless_said_otherwise(box) -> None:
    assert box.run("-u", "alice", "@", "sh", "-c", "echo $HOME") == "/home/alice"
    assert box.run("sh", "-c", "echo $HOME") == "/root"
    assert box.run("-u", "4711", "@", "sh", "-c", "echo $HOME") == "/"
    assert box.run("-e", "HOME=/x", "@", "sh", "-c", "echo $HOME") == "/x"


def test_a_working_directory_that_is_missing_is_made(box) -> None:
    assert box.run("-w", "/made/by/crate", "@", "pwd") == "/made/by/crate"


def test_a_working_directory_of_the_image_that_is_missing_is_made(crate: Crate, busybox_base, put) -> None:
    assert put(crate, busybox_base.changed(WorkingDir="/srv/app")).run("pwd") == "/srv/app"


def test_a_working_directory_must_be_absolute(box) -> None:
    assert "not absolute" in box.fails("-w", "relative", "@", "pwd")


def test_a_working_directory_that_is_a_file_is_said(box) -> None:
    assert "/etc/passwd" in box.fails("-w", "/etc/passwd", "@", "pwd", code=125)


def test_a_user_is_a_name_a_number_or_both_with_a_group(box) -> None:
    ids = {
        "alice": "1000 1000 1000 10 50",
        "1000": "1000 1000 1000 10 50",
        "alice:wheel": "1000 10 10",
        "1000:1000": "1000 1000 1000",
        "4711": "4711 0 0",
        "0:50": "0 50 50",
        "root": "0 0 0 10",
    }
    for user, expected in ids.items():
        uid, gid, *groups = box.run("-u", user, "@", "sh", "-c", "id -u; id -g; id -G").split()
        wanted = expected.split()
        assert [uid, gid, *sorted(set(groups), key=int)] == [*wanted[:2], *sorted(set(wanted[2:]), key=int)], user


def test_the_image_names_the_user(crate: Crate, alice_image, put) -> None:
    assert put(crate, alice_image.image).run("sh", "-c", "id -un; pwd; echo $HOME") == "alice\n/home/alice\n/home/alice"


@pytest.mark.parametrize("user", ["bob", "alice:nogroup2", ":", "alice:", ":50", "-1", "4294967295", "2147483648", "0x0", " "])
def test_a_user_that_is_not_there_is_said(root_box, user: str) -> None:
    said = root_box.fails(f"--user={user}", "@", "id")
    assert len(said.splitlines()) <= 2
    assert root_box.crate.ok("ps", "-aq") == ""


def test_a_container_has_no_stray_groups(box) -> None:
    assert box.run("-u", "1000:1000", "@", "sh", "-c", "id -G; grep Groups /proc/self/status").split()[0] == "1000"


def test_the_umask_is_022_whatever_the_callers_is(box) -> None:
    assert box.run("sh", "-c", "umask", umask=0o077) == "0022"


def test_the_callers_umask_closes_no_directory_of_the_container(box) -> None:
    script = "ls -ld / /made /made/deep /mnt /mnt/deep; echo x > /dev/null && pwd"
    words = ("-u", "1000", "-w", "/made/deep", "--tmpfs", "/mnt/deep", "@", "sh", "-c", script)
    said = box.run(*words, umask=0o077).splitlines()
    assert [line[:10] for line in said[:4]] == ["drwxr-xr-x"] * 4
    assert said[-1] == "/made/deep"


def test_the_callers_umask_closes_no_file_of_the_image(crate: Crate, busybox_image) -> None:
    crate.ok("pull", "-q", str(busybox_image), umask=0o077)
    said = crate.ok("run", "--rm", "-u", "alice", busybox_image.image.id, "ls", "-ld", "/bin", "/etc/passwd", "/tmp", "/etc")
    assert sorted(line[:10] for line in said.splitlines()) == ["-rw-r--r--", "drwxr-xr-x", "drwxr-xr-x", "drwxrwxrwt"]


def test_signals_that_the_caller_ignores_are_not_ignored_inside(box) -> None:
    argv = box.crate.argv("run", "--rm", box.image, "grep", "-E", "Sig(Ign|Blk)", "/proc/self/status")
    ignoring = "trap '' HUP INT QUIT USR1 USR2 ALRM TERM TSTP TTIN TTOU WINCH; exec \"$@\""
    done = box.crate.person.run(["sh", "-c", ignoring, "sh", *argv], env=box.crate.environment)
    assert {int(line.split()[1], 16) for line in done.stdout.splitlines()} == {0}


def test_limits_are_set(box) -> None:
    words = ("--ulimit", "nofile=100:200", "--ulimit", "core=0", "--ulimit", "cpu=17", "@", "sh", "-c")
    assert box.run(*words, "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -St") == "100\n200\n0\n17"


@pytest.mark.parametrize("limit", ["nofile", "nofile=", "nofile=a", "nofile=200:100", "no=1", "=1", "nofile=1:2:3"])
def test_what_is_no_limit_is_said(root_box, limit: str) -> None:
    assert "limit" in root_box.fails("--ulimit", limit, "@", "true")


def test_a_limit_above_the_callers_own_is_said_without_root(user_box) -> None:
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        pytest.skip("the tests have no limit of open files")
    assert "nofile" in user_box.fails("--ulimit", f"nofile={hard + 1}", "@", "true").lower()


# --- names and the network -------------------------------------------------------------------------------------------


def test_the_host_name_is_as_asked_for(box) -> None:
    said = box.run("--hostname", "web.example", "@", "sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME; uname -n")
    assert said.split() == ["web.example"] * 4


def test_without_a_network_the_host_name_is_the_beginning_of_the_id(box) -> None:
    name = box.run("--network", "none", "@", "hostname")
    assert re.fullmatch("[0-9a-f]{12}", name)


def test_the_host_keeps_its_name(box) -> None:
    before = os.uname().nodename
    box.run("--hostname", "inside", "@", "hostname")
    assert os.uname().nodename == before


@pytest.mark.parametrize("name", ["a b", "-a", "a..b", "x" * 65, "a\nb", "a/b"])
def test_what_is_no_host_name_is_said(root_box, name: str) -> None:
    assert "host name" in root_box.fails(f"--hostname={name}", "@", "true")


def test_on_the_hosts_network_the_namespace_and_its_resolvers_are_the_hosts(box) -> None:
    assert box.run("--network", "host", "@", "readlink", "/proc/self/ns/net") == os.readlink("/proc/self/ns/net")
    assert box.run("--network", "host", "@", "cat", "/etc/resolv.conf") == Path("/etc/resolv.conf").read_text().removesuffix(
        "\n"
    )


def test_info_says_what_the_default_network_is(crate: Crate) -> None:
    assert crate.ok("info", "--format", "{{.DefaultNetwork}}", env={"CRATE_NETWORK": ""}) == "bridge"
    assert crate.ok("info", "--format", "{{.DefaultNetwork}}", env={"CRATE_NETWORK": "none"}) == "none"


def test_without_a_network_there_is_a_loopback_alone(box) -> None:
    said = box.run("--network", "none", "@", "sh", "-c", "cd /sys/class/net && echo *; ip addr show lo")
    assert said.splitlines()[0] == "lo"
    assert "127.0.0.1" in said


def test_without_a_network_localhost_has_a_name(box) -> None:
    hosts = box.run("--network", "none", "--hostname", "inside", "@", "cat", "/etc/hosts")
    assert re.search(r"^127\.0\.0\.1\s+localhost", hosts)
    assert "inside" in hosts


def test_a_container_can_talk_to_itself_without_a_network(box) -> None:
    script = "echo hello | nc -l -p 77 & sleep 0.3; nc 127.0.0.1 77 < /dev/null"
    assert box.run("--network", "none", "@", "sh", "-c", script) == "hello"


def test_a_network_that_is_not_there_is_said(box) -> None:
    assert "no network nowhere" in box.fails("--network", "nowhere", "@", "true")


@pytest.mark.parametrize("name", ["hosts", "hostname", "resolv.conf"])
def test_what_a_container_writes_into_its_own_files_of_the_network_stays_inside(box, name: str) -> None:
    before = Path("/etc", name).read_bytes() if Path("/etc", name).exists() else b""
    assert box.run("sh", "-c", f"echo of the container >> /etc/{name} && tail -n 1 /etc/{name}") == "of the container"
    assert (Path("/etc", name).read_bytes() if Path("/etc", name).exists() else b"") == before


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(crate: Crate) -> Path:
    """A directory of the caller's with a file in it."""
    directory = crate.person.directory(crate.directory / "shared")
    directory.chmod(0o777)
    (directory / "file").write_text("of the host\n")
    return directory


def test_a_directory_is_bound(box, shared: Path) -> None:
    assert box.run("-v", f"{shared}:/mnt/deep", "@", "cat", "/mnt/deep/file") == "of the host"


def test_what_is_written_into_a_bound_directory_is_there(box, shared: Path) -> None:
    box.run("-v", f"{shared}:/mnt", "@", "sh", "-c", "echo new > /mnt/new")
    assert (shared / "new").read_text() == "new\n"
    assert (shared / "new").stat().st_uid == box.crate.person.uid


def test_a_directory_bound_read_only_is_not_written(box, shared: Path) -> None:
    done = box("-v", f"{shared}:/mnt:ro", "@", "sh", "-c", "echo new > /mnt/new")
    assert done.returncode != 0
    assert "Read-only" in done.stderr
    done = box("--mount", f"type=bind,source={shared},target=/mnt,readonly", "@", "touch", "/mnt/new")
    assert "Read-only" in done.stderr
    assert not (shared / "new").exists()


def test_a_read_only_bind_cannot_be_made_writable_inside(box, shared: Path) -> None:
    done = box("-v", f"{shared}:/mnt:ro", "@", "sh", "-c", "mount -o remount,rw,bind /mnt || touch /mnt/new")
    assert "Read-only" in done.stderr
    assert not (shared / "new").exists()


def test_a_file_is_bound(box, shared: Path) -> None:
    assert box.run("-v", f"{shared}/file:/etc/passwd:ro", "@", "cat", "/etc/passwd") == "of the host"


def test_a_path_that_begins_with_a_dot_is_below_the_callers_directory(box, shared: Path) -> None:
    assert box.run("-v", "./shared:/mnt", "@", "cat", "/mnt/file", cwd=shared.parent) == "of the host"


def test_a_missing_source_of_v_is_made(box, shared: Path) -> None:
    box.run("-v", f"{shared}/made/deep:/mnt", "@", "touch", "/mnt/x")
    assert (shared / "made/deep/x").exists()


def test_a_missing_source_of_mount_is_an_error(box, shared: Path) -> None:
    said = box.fails("--mount", f"type=bind,source={shared}/missing,target=/mnt", "@", "true")
    assert "missing" in said
    assert not (shared / "missing").exists()


def test_a_target_that_is_a_symlink_stays_inside(crate: Crate, busybox_base, put, shared: Path, leaked: None) -> None:
    from support.images import Image, Tree

    evil = crate.person.directory(crate.directory / "canary")
    layer = Tree().symlink("mnt", str(evil)).layer()
    box = put(crate, Image((*busybox_base.layers, layer), busybox_base.config))
    assert box.run("-v", f"{shared}:/mnt/below", "@", "cat", f"{evil}/below/file") == "of the host"
    assert list(evil.iterdir()) == []


def test_a_mount_hides_what_is_below_and_order_does_not_matter(box, shared: Path) -> None:
    said = box.run("--tmpfs", "/a/b/c", "-v", f"{shared}:/a/b", "--tmpfs", "/a", "@", "sh", "-c", "ls -A /a /a/b /a/b/c")
    assert said.split() == ["/a:", "b", "/a/b:", "c", "file", "/a/b/c:"]


def test_a_tmpfs_has_its_size_and_mode(box) -> None:
    words = ("--tmpfs", "/t:size=1m,mode=1770", "@", "sh", "-c")
    assert box.run(*words, "stat -c %a /t; df -k /t | tail -n 1 | awk '{print $2}'") == "1770\n1024"
    assert box(*words, "dd if=/dev/zero of=/t/x bs=1k count=2000").returncode != 0


def test_a_tmpfs_runs_no_programs_unless_asked(box) -> None:
    script = "cp /bin/busybox /t/echo && /t/echo x"
    assert box("--tmpfs", "/t", "@", "sh", "-c", script).returncode == 126
    assert box.run("--tmpfs", "/t:exec", "@", "sh", "-c", script) == "x"


def test_a_tmpfs_by_mount(box) -> None:
    said = box.run("--mount", "type=tmpfs,target=/t,tmpfs-size=2m", "@", "sh", "-c", "mount | grep ' /t '")
    assert "size=2048k" in said


def test_a_read_only_root_is_not_written_but_mounts_are(box, shared: Path) -> None:
    script = "touch /x 2>&1; touch /etc/x 2>&1; touch /t/x /dev/shm/x /mnt/x && echo fine"
    said = box.run("--read-only", "--tmpfs", "/t", "-v", f"{shared}:/mnt", "@", "sh", "-c", script)
    assert said.count("Read-only") == 2
    assert said.endswith("fine")


@pytest.mark.parametrize(
    "words",
    [
        ("-v", "rela/tive:/x"),
        ("-v", "a"),
        ("-v", "/a:b"),
        ("-v", "/a:/b:what"),
        ("-v", "/a:/"),
        ("-v", ":/b"),
        ("-v", "/a:/b:ro,rw"),
        ("--mount", "type=bind"),
        ("--mount", "type=what,target=/x"),
        ("--mount", 'type=bind,"'),
        ("--tmpfs", "x"),
        ("--tmpfs", "/x:size=a"),
        ("-v", "/a:/x", "--tmpfs", "/x"),
    ],
)
def test_what_is_no_mount_is_said(root_box, words: tuple[str, ...]) -> None:
    said = root_box.fails(*words, "@", "true")
    assert len(said.splitlines()) <= 2, said


# --- the container ---------------------------------------------------------------------------------------------------


def test_the_id_is_written_into_a_file(box) -> None:
    file = box.crate.directory / "cid"
    identity = box.create("--cidfile", str(file), "@", "true")
    assert file.read_text() == identity
    assert "there already" in box.crate.fails("create", "--cidfile", str(file), box.image, "true")
    assert "there already" in box.fails("--cidfile", str(file), "@", "true")
    assert box.crate.ok("ps", "-aq", "--no-trunc") == identity
    assert file.read_text() == identity


def test_a_file_for_the_id_that_cannot_be_made_makes_no_container(box) -> None:
    box.fails("--cidfile", "/no/such/directory/cid", "@", "true")
    assert box.crate.ok("ps", "-aq") == ""


def test_a_failed_run_leaves_no_file_for_the_id(box) -> None:
    file = box.crate.directory / "cid"
    box.crate.fails("run", "--pull", "never", "--cidfile", str(file), "example.invalid/x", "true")
    assert not file.exists()


def test_labels_are_kept_and_inert(box) -> None:
    esc = "\x1b[31mred"
    box.create("--name", "web", "--label", f"a={esc}", "--label", "io.kubernetes.x=y", "-l", "empty", "@", "true")
    document = box.crate.json("inspect", "web")
    assert document[0]["Config"]["Labels"] == {"a": esc, "io.kubernetes.x": "y", "empty": ""}
    for words in (("ps", "-a", "--format", "{{.Labels}}"), ("inspect", "web"), ("ps", "-a")):
        assert "\x1b" not in box.crate.ok(*words)


def test_quiet_says_nothing_of_a_pull(crate: Crate, busybox_image) -> None:
    done = crate("run", "--rm", "--quiet", str(busybox_image), "echo", "x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


def test_a_platform_that_the_image_does_not_have_is_said(crate: Crate, busybox_image) -> None:
    said = crate.fails("run", "--rm", "--platform", "linux/s390x", str(busybox_image), "true")
    assert "s390x" in said


@pytest.mark.parametrize("platform", ["linux", "what/ever", "linux/", "/amd64", "linux/amd64/v1/x", "LINUX/\x1b"])
def test_what_is_no_platform_is_said(root_box, platform: str) -> None:
    done = root_box.crate("run", "--rm", "--platform", platform, root_box.image, "true")
    assert done.returncode in {0, 125}
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--no-such-flag",),
        ("-Z",),
        ("--pull", "sometimes"),
        ("--env-file", "/no/such"),
        ("-e", "=x"),
        ("--security-opt", "what"),
        ("--security-opt", "seccomp=/no/such"),
        ("--cap-add", "NO_SUCH"),
        ("--label", "=x"),
        ("--detach-keys", "ctrl-"),
        ("--rm=maybe",),
        ("--memory", "1"),
        ("--stop-signal", "NOPE"),
        ("--name",),
    ],
)
def test_a_bad_flag_is_125_and_says_what_is_right(root_box, words: tuple[str, ...]) -> None:
    said = root_box.fails(*words, "@", "true")
    assert len(said.splitlines()) <= 2, said
    assert root_box.crate.ok("ps", "-aq") == ""


def test_without_an_image_run_says_what_it_wants(crate: Crate) -> None:
    assert "IMAGE" in crate.fails("run", "--rm")


def test_a_command_that_is_not_there_is_said_by_crate_and_not_by_the_reaper(box) -> None:
    assert "executable file not found" in box.fails("--init", "@", "nosuch", code=127)
    assert "permission denied" in box.fails("--init", "@", "/etc/passwd", code=126)


def test_a_volume_of_the_image_is_there_to_be_written_to(crate: Crate, busybox_base, put) -> None:
    box = put(crate, busybox_base.changed(Volumes={"/data/made": {}}))
    assert box.run("sh", "-c", "echo kept > /data/made/file; cat /data/made/file") == "kept"


def test_a_volume_of_the_image_that_is_no_directory_is_said(crate: Crate, busybox_base, put) -> None:
    box = put(crate, busybox_base.changed(Volumes={"/bin/busybox": {}}))
    assert "at /bin/busybox: the one is a directory, the other a file in the image" in box.fails("true")


def test_a_file_is_not_mounted_on_a_directory_nor_the_other_way(box) -> None:
    file = box.crate.directory / "file"
    file.write_text("x")
    file.chmod(0o644)
    assert "the one is a file, the other a directory" in box.fails("-v", f"{file}:/etc", "@", "true")
    assert "the one is a directory, the other a file" in box.fails("-v", f"{box.crate.directory}:/bin/busybox", "@", "true")
