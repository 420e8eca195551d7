"""What a container made by crate may do, and what no image can make it do: ../../docs, the rows of the engine."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from support import commands
from support.commands import Crate
from support.images import BUSYBOX, Image, Tree

# chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write setfcap
DEFAULT = 0xA80425FB
SYS_ADMIN, NET_ADMIN, NET_RAW, CHOWN = 1 << 21, 1 << 12, 1 << 13, 1
HELD_UP = 60  # seconds: what waits for a FIFO's writer, or reads what has no end, never ends


def _capabilities(box, *words: str) -> dict[str, int]:  # type: ignore[no-untyped-def]
    lines = box.run(*words, "@", "cat", "/proc/self/status").splitlines()
    return {line[:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}


def test_capabilities_are_dockers_default_and_none_is_inheritable(box) -> None:
    found = _capabilities(box, "--network", "none")
    assert found == {"CapInh": 0, "CapPrm": DEFAULT, "CapEff": DEFAULT, "CapBnd": DEFAULT, "CapAmb": 0}


def test_on_the_machines_own_network_nobody_reads_every_packet_who_was_not_allowed_to(box) -> None:
    assert _capabilities(box)["CapBnd"] == DEFAULT & ~NET_RAW
    assert _capabilities(box, "--cap-add", "NET_RAW")["CapBnd"] == DEFAULT


def test_capabilities_are_added_and_dropped(box) -> None:
    wanted = DEFAULT & ~NET_RAW & ~CHOWN | NET_ADMIN
    assert _capabilities(box, "--cap-add", "NET_ADMIN", "--cap-drop", "cap_chown")["CapEff"] == wanted
    assert _capabilities(box, "--cap-drop", "ALL") == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}
    assert _capabilities(box, "--cap-drop", "ALL", "--cap-add", "CHOWN")["CapEff"] == CHOWN
    assert _capabilities(box, "--cap-add", "ALL")["CapEff"] & SYS_ADMIN


def test_another_user_has_no_capability_but_may_get_them(box) -> None:
    assert _capabilities(box, "--network", "none", "-u", "alice") == {
        "CapInh": 0,
        "CapPrm": 0,
        "CapEff": 0,
        "CapBnd": DEFAULT,
        "CapAmb": 0,
    }


def test_a_privileged_container_has_all_capabilities_of_the_kernel(box) -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    found = _capabilities(box, "--privileged")["CapBnd"]
    if box.crate.person.is_root:
        own = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd"))
        assert found == int(own.split()[1], 16) & ((1 << (last + 1)) - 1)
    else:
        assert found == (1 << (last + 1)) - 1


def test_a_privileged_container_has_no_filter_and_may_write_to_proc_sys(box) -> None:
    said = box.run(
        "--privileged", "@", "sh", "-c", "grep Seccomp: /proc/self/status; test -w /proc/sys/kernel/hostname && echo w"
    )
    assert said.split() == ["Seccomp:", "0", "w"]


def test_a_filter_is_there_by_default_and_gone_where_asked(box) -> None:
    script = "grep Seccomp: /proc/self/status"
    assert box.run("sh", "-c", script).split()[1] == "2"
    assert box.run("--security-opt", "seccomp=unconfined", "@", "sh", "-c", script).split()[1] == "0"


def test_a_filter_of_ones_own(box) -> None:
    profile = box.crate.directory / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    done = box("--security-opt", f"seccomp={profile}", "@", "mkdir", "/x")
    assert "Function not implemented" in done.stderr


def test_exec_has_the_filter_of_the_start_whatever_became_of_its_file(box) -> None:
    profile = box.crate.directory / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    name = box.detached("--security-opt", f"seccomp={profile}", "@", "sleep", "100")
    for change in (lambda: profile.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}'), profile.unlink):
        change()
        assert "Function not implemented" in box.crate("exec", name, "mkdir", "/x").stderr
    assert "no such file" in box.crate.fails("restart", "-t", "0", name, code=1).lower()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"defaultAction": "WHAT"}', '{"defaultAction": 1}', "\x00" * 100, "9" * 100000]
)
def test_what_is_no_filter_is_said(root_box, text: str) -> None:
    profile = root_box.crate.directory / "profile.json"
    profile.write_text(text)
    said = root_box.fails("--security-opt", f"seccomp={profile}", "@", "true")
    assert len(said.splitlines()) <= 2
    assert len(said) < 1000


def test_new_privileges_can_be_forbidden(box) -> None:
    script = "grep NoNewPrivs /proc/self/status"
    assert box.run("--security-opt", "no-new-privileges", "@", "sh", "-c", script).split()[1] == "1"
    assert box.run("sh", "-c", script).split()[1] == "0"


def test_only_three_descriptors_are_open(box) -> None:
    assert box.run("sh", "-c", "ls /proc/1/fd; :").split() == ["0", "1", "2"]


def test_descriptors_of_the_caller_do_not_reach_the_command(box) -> None:
    ours, theirs = os.pipe()
    assert box.run("sh", "-c", "ls /proc/1/fd; :", pass_fds=[theirs]).split() == ["0", "1", "2"]
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("number", [3, 5, 6, 7, 8, 9, 10, 15])
def test_no_working_directory_is_a_descriptor_of_the_host(root_box, number: int) -> None:
    done = root_box("-w", f"/proc/self/fd/{number}", "@", "ls", "..")
    assert done.returncode in {125, 126}
    assert done.stdout == ""


def test_no_working_directory_of_an_image_is_a_descriptor_of_the_host(crate: Crate, busybox_base, put) -> None:
    for place in ("/proc/self/fd/8", "/proc/1/fd/7/", "/proc/self/fd/8/../../.."):
        done = put(crate, busybox_base.changed(WorkingDir=place))("ls")
        assert done.returncode in {125, 126}, (place, done.stdout)


def test_a_working_directory_behind_a_symlink_is_made_inside(crate: Crate, busybox_base, put) -> None:
    canary = crate.person.directory(crate.directory / "canary")
    layer = Tree().symlink("work", str(canary)).layer()
    box = put(crate, Image((*busybox_base.layers, layer), busybox_base.config | {"WorkingDir": "/work/made"}))
    assert box.run("pwd").endswith("/made")
    assert list(canary.iterdir()) == []


MASKED = [
    "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/sched_debug", "/proc/latency_stats",
    "/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/dev/block", "/sys/fs/selinux",
    "/sys/devices/virtual/powercap",
]  # fmt: skip


def test_what_tells_about_the_machine_is_hidden(box) -> None:
    script = "for path; do test -d $path && ls -A $path || { test -e $path && head -c 10 $path; }; done; echo end"
    assert box.run("sh", "-c", script, "sh", *MASKED) == "end"


def test_the_settings_of_the_kernel_cannot_be_written(box) -> None:
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/randomize_va_space", "/proc/sys/vm/drop_caches"):
        done = box("sh", "-c", f"echo x > {path}")
        assert done.returncode != 0, path
        assert "Read-only" in done.stderr


def test_sys_is_read_only(box) -> None:
    assert "Read-only" in box("mkdir", "/sys/fs/cgroup/x").stderr
    assert box("sh", "-c", "touch /sys/kernel/x").returncode != 0


def test_a_masked_path_cannot_be_uncovered(box) -> None:
    for words in (("umount", "/proc/kcore"), ("umount", "/proc/sys"), ("mount", "-t", "proc", "proc", "/tmp")):
        assert box(*words).returncode != 0, words


def test_no_disk_of_the_host_can_be_opened(box) -> None:
    disks = [f"b {line.split()[0]} {line.split()[1]}" for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    for device in (*disks[:3], "c 1 1", "c 1 2", "c 10 200"):
        done = box("sh", "-c", f"mknod /node {device} && head -c 1 /node")
        assert done.returncode != 0, device
        assert "not permitted" in done.stderr.lower() or "denied" in done.stderr.lower(), (device, done.stderr)


def test_the_devices_that_everybody_needs_are_there(box) -> None:
    script = (
        "echo x > /dev/null && head -c 1 /dev/zero /dev/urandom /dev/random > /dev/null && echo x 2>&- > /dev/full; echo $?"
    )
    assert box.run("sh", "-c", script) == "1"
    names = box.run("sh", "-c", "cd /dev; echo *").split()
    assert set(names) >= {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "ptmx",
        "pts",
        "shm",
        "mqueue",
        "fd",
        "stdin",
        "stdout",
    }
    assert set(names) <= {
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd", "stdin", "stdout", "stderr",
        "core", "console", "init",
    }  # fmt: skip


def test_no_process_of_the_host_is_seen_or_signalled(box) -> None:
    assert box("kill", "-0", str(os.getpid())).returncode != 0
    assert box.run("sh", "-c", "cd /proc; echo [0-9]*") == "1"


def test_every_namespace_but_the_hosts_network_is_the_containers_own(box) -> None:
    kinds = ["pid", "mnt", "uts", "ipc", "cgroup", "net", "user"]
    said = box.run("sh", "-c", "for kind; do readlink /proc/self/ns/$kind; done", "sh", *kinds).split()
    shared = {kind for kind, link in zip(kinds, said, strict=True) if link == os.readlink(f"/proc/self/ns/{kind}")}
    assert shared == ({"net", "user"} if box.crate.person.is_root else {"net"})


def test_root_in_a_users_container_is_that_user_outside(user_box, until) -> None:
    user_box.detached("--name", "web", "@", "sleep", "100")
    document = user_box.crate.json("inspect", "web")
    status = Path(f"/proc/{document[0]['State']['Pid']}/status").read_text()
    assert f"Uid:\t{user_box.crate.person.uid}\t" in status


def test_no_mount_of_a_running_container_is_seen_on_the_host(box, word: str) -> None:
    box.detached("--name", "web", "--tmpfs", "/x", "@", "sleep", "100")
    assert word not in Path("/proc/self/mountinfo").read_text()


# --- hostile images --------------------------------------------------------------------------------------------------


def _hashes(crate: Crate) -> dict[str, str]:
    """The command, its interpreter and its package: what a container that overwrites its runtime would change."""
    interpreter = Path(commands.words_of(crate.executable)[0])
    files = [interpreter, crate.executable, *sorted(commands.package_of(crate.executable).rglob("*.py"))]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("place", ["/proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe"])
def test_an_entry_point_that_is_the_runtime_itself_is_126(crate: Crate, busybox_base, put, place: str) -> None:
    before = _hashes(crate)
    layer = Tree().file("entry", f"#!{place}\n", mode=0o755).symlink("link", place).layer()
    box = put(crate, Image((*busybox_base.layers, layer), busybox_base.config))
    for command in ("/entry", "/link", place):
        done = box(command, "-c", "print(1)")
        assert done.returncode in {125, 126, 127}, (command, done.stdout, done.stderr)
        assert done.stdout == ""
    assert _hashes(crate) == before


PASSWD_ATTACKS = {
    "a FIFO": lambda tree: tree.member("etc/passwd", type=b"6", mode=0o644),
    "a directory": lambda tree: tree.directory("etc/passwd"),
    "a symlink to itself": lambda tree: tree.symlink("etc/passwd", "passwd"),
    "a symlink to the host": lambda tree: tree.symlink("etc/passwd", "../../../../../../../../etc/shadow"),
    "a symlink to a process": lambda tree: tree.symlink("etc/passwd", "/proc/self/environ"),
    "no text": lambda tree: tree.file("etc/passwd", b"\x00\xff" * 1000 + b"\nroot:x:0:0::/:/bin/sh\n"),
    "a line without an end": lambda tree: tree.file("etc/passwd", b"r" * 1000000),
    "rows that are none": lambda tree: tree.file("etc/passwd", "root\n:::::::\nroot:x:a:b:::\nroot:x:-1:-1:::\n+::::::\n"),
    "numbers that wrap": lambda tree: tree.file("etc/passwd", "eve:x:4294967296:4294967296::/:/bin/sh\n"),
}


@pytest.mark.parametrize("attack", PASSWD_ATTACKS)
def test_a_hostile_passwd_holds_nobody_up_and_makes_nobody_root(crate: Crate, busybox_base, put, attack: str) -> None:
    tree = Tree().file("etc/.wh.passwd", "")
    PASSWD_ATTACKS[attack](upper := Tree())
    box = put(crate, Image((*busybox_base.layers, tree.layer(), upper.layer()), busybox_base.config))
    uid = "grep Uid /proc/self/status; echo $HOME"
    assert box.run("sh", "-c", uid, timeout=HELD_UP).split()[1:3] == ["0", "0"]
    assert box.run("-u", "1000:1000", "@", "sh", "-c", uid, timeout=HELD_UP).split()[1:] == ["1000"] * 4 + ["/"]
    assert "no user" in box.fails("-u", "eve", "@", "true", timeout=HELD_UP)


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_a_passwd_of_a_terabyte_is_refused_unread(crate: Crate, busybox_base, put, name: str) -> None:
    """As a sparse file in the container's own layer. There is not the memory, nor the time, to read it all."""
    box = put(crate, busybox_base)
    identity = box.create("--name", "web", "-u", "alice", "@", "true")
    upper = crate.root / "containers" / identity / "rw/upper"
    (upper / "etc").mkdir()
    with open(upper / "etc" / name, "wb") as file:
        file.truncate(1 << 40)
    for path in (upper / "etc", upper / "etc" / name):
        os.chown(path, crate.person.uid, crate.person.gid)
    assert "larger than 1 MiB" in crate.fails("start", "-a", "web", timeout=HELD_UP)


def test_a_container_that_writes_its_own_passwd_is_that_user_at_the_next_start(box) -> None:
    box.crate("run", "--name", "web", box.image, "sh", "-c", "echo eve:x:77:78::/eve:/bin/sh >> /etc/passwd")
    assert box.crate.ok("start", "web", "grep", "eve", "/etc/passwd").startswith("eve")


HOSTILE_CONFIGS = {
    "an environment that is no list": {"Env": "PATH=/bin"},
    "an environment of numbers": {"Env": [1, 2]},
    "a command that is no list": {"Cmd": "sh"},
    "a user that is a number": {"User": 0},
    "labels that are a list": {"Labels": ["a"]},
    "a working directory that is none": {"WorkingDir": ["/"]},
    "a command with a NUL": {"Cmd": ["sh\x00"]},
    "an environment with a NUL": {"Env": ["A=\x00"]},
    "a working directory with a NUL": {"WorkingDir": "/\x00"},
    "a relative working directory": {"WorkingDir": "relative"},
    "a user that is not there": {"User": "mallory"},
    "a user that wraps": {"User": "4294967296"},
    "a stop signal that is none": {"StopSignal": "SIGWHAT\x1b[31m"},
    "a label of escapes": {"Labels": {"\x1b]0;title\x07": "\x1b[31m"}},
    "an entry point of an empty word": {"Entrypoint": [""]},
    "a health check that is none": {"Healthcheck": 5},
    "volumes that are none": {"Volumes": ["/x"]},
    "ports that are none": {"ExposedPorts": "80"},
    "a volume out of the tree": {"Volumes": {"../../../x": {}}},
    "a user of escapes": {"User": "\x1b[31mred"},
    "a very long user": {"User": "a" * 100000},
    "a very long working directory": {"WorkingDir": "/" + "a/" * 5000},
    "a very long word": {"Cmd": ["a" * 200000]},
}


@pytest.mark.parametrize("what", HOSTILE_CONFIGS)
def test_a_hostile_config_is_refused_or_harmless(rootful: Crate, build, busybox_base, what: str) -> None:
    image = str(build("hostile", busybox_base.changed(**HOSTILE_CONFIGS[what])))
    done = rootful("run", "--rm", "--quiet", image, *([] if "Cmd" in HOSTILE_CONFIGS[what] else ["true"]))
    assert done.returncode in {0, 125, 126, 127}
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr) < 2000
    for words in (("ps", "-a"), ("images",), ("images", "-a")):
        if words != ("images", "-a"):
            assert "\x1b" not in rootful.ok(*words)


def test_a_stop_signal_that_is_none_does_not_keep_a_container_from_being_stopped(rootful: Crate, put, busybox_base) -> None:
    box = put(rootful, busybox_base.changed(StopSignal="SIGWHAT"))
    identity = box.detached("sleep", "100")
    rootful.ok("stop", "-t", "0", identity)
    assert box.status(identity) == "exited"


DEVICE_TREES = {
    "dev a symlink": lambda tree: tree.symlink("dev", "/etc"),
    "proc a symlink": lambda tree: tree.symlink("proc", "/etc"),
    "sys a symlink": lambda tree: tree.symlink("sys", "../../../../tmp"),
    "etc a symlink": lambda tree: tree.symlink("etc", "/proc/self"),
    "resolv.conf a symlink to the host": lambda tree: tree.symlink("etc/resolv.conf", "../../../../../../tmp/canary"),
    "hosts a FIFO": lambda tree: tree.member("etc/hosts", type=b"6"),
    "hostname a directory": lambda tree: tree.directory("etc/hostname"),
    "dev/null a file": lambda tree: tree.directory("dev").file("dev/null", "x", mode=0o666),
    "dev/pts a symlink": lambda tree: tree.directory("dev").symlink("dev/pts", "/etc"),
}


@pytest.mark.parametrize("what", DEVICE_TREES)
def test_an_image_whose_places_are_not_what_they_seem_reaches_nothing(crate: Crate, put, what: str) -> None:
    tree = Tree().directory("bin").file("bin/busybox", BUSYBOX.read_bytes(), mode=0o755).symlink("bin/sh", "busybox")
    DEVICE_TREES[what](tree)
    box = put(crate, Image((tree.layer(),), {"Env": ["PATH=/bin"], "Cmd": ["sh"]}))
    before = sorted(os.listdir("/etc")), sorted(os.listdir("/dev"))
    done = box("sh", "-c", "echo fine", timeout=HELD_UP)
    assert (done.returncode, done.stdout) in {(0, "fine\n"), (125, "")}, done.stderr
    assert "Traceback" not in done.stderr
    assert (sorted(os.listdir("/etc")), sorted(os.listdir("/dev"))) == before
    assert not os.path.lexists("/tmp/canary")


def test_nothing_that_is_kept_can_be_written_by_others_whatever_the_umask(box) -> None:
    """A container's record, changed by somebody else, would be run with the rights of whoever starts it."""
    box.crate.root.chmod(0o755)  # as where an administrator made it
    script = 'umask 0; "$@"'
    for words in (("create", box.image, "true"), ("run", "-d", box.image, "sleep", "900")):
        argv = box.crate.argv(*words)
        done = box.crate.person.run(["sh", "-c", script, "sh", *argv], env=box.crate.environment)
        assert done.returncode == 0, done.stderr
    open_to_others = [
        path
        for top in (box.crate.root, box.crate.state)
        for path in top.rglob("*")
        if not path.is_symlink() and path.stat().st_mode & 0o022 and "/layers/" not in str(path)
    ]
    assert open_to_others == []


def test_a_directory_of_containers_that_others_can_write_to_is_refused(box) -> None:
    name = box.create("@", "true")
    (box.crate.root / "containers").chmod(0o777)
    assert "others can write to it" in box.crate.fails("start", name)
    (box.crate.root / "containers").chmod(0o700)


def test_the_machines_console_cannot_be_opened(root_box) -> None:
    script = "mknod /tmp/c c 5 1 && (: > /tmp/c) 2>&1"
    done = root_box("@", "sh", "-c", f"mkdir -p /tmp; {script}")
    assert done.returncode != 0
    assert "ermitted" in done.stdout + done.stderr
