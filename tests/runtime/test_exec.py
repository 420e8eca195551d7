"""exec: another process in a container that is there, on the way that its first one went, and with no more rights."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support import commands


@pytest.fixture
def running(oci):
    """The name of a container that runs."""
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    oci.ok("start", name)
    yield name
    oci("delete", "--force", name)


def process(oci, **changes) -> Path:
    """Write a process document like a bundle's, with `changes`; return its path."""
    path = oci.directory / "process.json"
    path.write_text(json.dumps(oci.bundle("/bin/true").process | changes))
    return path


def in_container(oci, name: str, script: str, **options) -> str:
    return oci.ok("exec", name, "/bin/sh", "-c", script, **options)


def test_the_process_is_inside_of_the_container(oci, running):
    said = in_container(oci, running, "hostname; readlink /proc/self/ns/pid; readlink /proc/1/ns/pid; ls /").split()
    assert said[0] == "box"
    assert said[1] == said[2]
    assert "proc" in said


def test_it_joins_every_namespace(oci, running):
    pid = oci.state(running)["pid"]
    kinds = [kind for kind in os.listdir(f"/proc/{pid}/ns") if not kind.endswith("_for_children")]
    theirs = {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}
    said = in_container(oci, running, "cd /proc/self/ns; for k in *; do readlink $k; done").split()
    assert theirs <= set(said)


def _cgroup_with_pids(pid):
    """In the hierarchy of v1 that counts processes, else in v2."""
    lines = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().split())
    return Path("/sys/fs/cgroup/pids" + lines["pids"] if "pids" in lines else "/sys/fs/cgroup" + lines[""])


def test_it_is_in_the_containers_cgroup(oci, running):
    where = _cgroup_with_pids(oci.state(running)["pid"])
    if where == _cgroup_with_pids("self"):
        pytest.skip("an ordinary user has no cgroup of his own here")
    shell = oci.start("exec", running, "/bin/sleep", "61")
    deadline = time.monotonic() + 30
    inside = []
    while len(inside) < 2:
        assert time.monotonic() < deadline
        inside = (where / "cgroup.procs").read_text().split()
    oci.ok("kill", "--all", running, "KILL")
    assert shell.wait(60) == 128 + signal.SIGKILL


@pytest.mark.skipif(not Path("/sys/fs/cgroup/cgroup.controllers").exists(), reason="needs cgroup v2")
def test_a_container_that_divides_its_cgroup_of_v2_can_be_entered(root_oci):
    """Such a cgroup takes no processes itself: exec goes where the container's own process is."""
    script = "cd /sys/fs/cgroup && mkdir own && echo 1 > own/cgroup.procs && echo +pids > cgroup.subtree_control; sleep 900"
    bundle = root_oci.bundle(script=script).without("/sys/fs/cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "rw", kind="cgroup")
    name = root_oci.create(bundle)
    root_oci.ok("start", name)
    deadline = time.monotonic() + 30
    while "0::/own" not in (said := root_oci("exec", name, "/bin/cat", "/proc/self/cgroup").stdout):
        assert time.monotonic() < deadline, said
    root_oci.ok("delete", "--force", name)


def test_exec_ends_with_its_processs_exit_code(oci, running):
    oci.fails("exec", running, "/bin/sh", "-c", "exit 7", code=7)


def test_exec_ends_with_128_and_the_signal(oci, running):
    oci.fails("exec", running, "/bin/sh", "-c", "kill -KILL $$", code=128 + signal.SIGKILL)


def test_a_failed_exec_ends_with_255(oci, running):
    assert "no such file or directory" in oci.fails("exec", running, "/bin/nothing", code=255)
    assert "executable file not found in $PATH" in oci.fails("exec", running, "nothing", code=255)


def test_a_process_document_is_done_as_it_is_written(oci, running):
    document = process(
        oci,
        args=["/bin/sh", "-c", "id -u; id -g; pwd; umask; echo $WORD; ulimit -n; grep -e CapEff -e NoNew /proc/self/status"],
        cwd="/tmp",
        env=["PATH=/bin", "WORD=here"],
        user={"uid": 1000, "gid": 1000, "umask": 0o027},
        noNewPrivileges=True,
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 33, "hard": 44}],
    )
    said = oci.ok("exec", "--process", document, running).split()
    assert said[:6] == ["1000", "1000", "/tmp", "0027", "here", "33"]
    assert said[6:] == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1"]


def test_a_document_without_capabilities_gets_the_containers(oci, running):
    document = json.loads(process(oci, args=["/bin/grep", "CapBnd", "/proc/self/status"]).read_text())
    del document["capabilities"]
    path = oci.directory / "process.json"
    path.write_text(json.dumps(document))
    assert oci.ok("exec", "--process", path, running) == in_container(oci, running, "grep CapBnd /proc/1/status")


def test_a_document_that_contradicts_itself_is_refused(oci, running):
    assert "cwd" in oci.fails("exec", "--process", process(oci, cwd="relative"), running, code=255)


def test_the_containers_filter_holds_for_it(oci):
    bundle = oci.bundle("/bin/sleep", "900")
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    name = oci.create(bundle)
    oci.ok("start", name)
    assert "not supported" in oci.fails("exec", name, "/bin/mkdir", "/tmp/new", code=1)
    document = process(oci, args=["/bin/mkdir", "/tmp/new"], noNewPrivileges=True)
    assert "not supported" in oci.fails("exec", "--process", document, name, code=1)
    oci.ok("delete", "--force", name)


def test_a_bundle_that_changed_later_does_not_matter(oci, running):
    bundle = Path(oci.state(running)["bundle"])
    (bundle / "config.json").unlink()
    assert in_container(oci, running, "echo still") == "still\n"


def test_exec_into_a_created_container(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    assert in_container(oci, name, "hostname") == "box\n"
    assert oci.status(name) == "created"
    where = "cat /proc/self/uid_map; ls /; for kind in mnt pid net ipc uts; do readlink /proc/self/ns/$kind; done"
    before = in_container(oci, name, where)
    oci.ok("start", name)
    oci.until(name, "running")
    assert in_container(oci, name, where) == before
    oci.ok("delete", "--force", name)


def test_nobody_in_a_created_container_can_look_into_the_process_that_waits(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    look = "readlink /proc/1/$one && echo seen"
    assert in_container(oci, name, f"for one in exe cwd root fd/0 ns/mnt; do {look}; done; echo end") == "end\n"
    oci.ok("delete", "--force", name)


def test_a_created_container_is_entered_by_many_at_once_and_starts_afterwards(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda number: in_container(oci, name, f"echo {number}"), range(8)))
    assert said == [f"{number}\n" for number in range(8)]
    oci.ok("start", name)
    oci.until(name, "running")
    assert not {"gate", "report", "door"} & set(os.listdir(oci.root / name))
    fds = oci.person.run(["ls", "-l", f"/proc/{oci.state(name)['pid']}/fd"]).stdout
    assert "socket:" not in fds
    assert "ns" not in {one.split(":")[0].rpartition(" ")[2] for one in fds.splitlines()}
    oci.ok("delete", "--force", name)


def test_a_created_container_with_a_long_name_is_entered(oci):
    """An address of a socket has at most 107 bytes."""
    oci.ids.append(f"{oci.name()}-{'x' * 150}")
    name = oci.create(oci.bundle("/bin/sleep", "900"), name=oci.ids[-1])
    assert in_container(oci, name, "hostname") == "box\n"
    oci.ok("delete", "--force", name)


def test_a_created_container_that_is_started_while_it_is_entered_is_entered(oci):
    for _ in range(3):
        name = oci.create(oci.bundle("/bin/sleep", "900"))
        with ThreadPoolExecutor(4) as pool:
            said = [pool.submit(in_container, oci, name, "echo in") for _ in range(3)]
            oci.ok("start", name)
            assert [one.result() for one in said] == ["in\n"] * 3
        oci.ok("delete", "--force", name)


def test_exec_into_a_stopped_container_is_refused(oci):
    name = oci.create(oci.bundle("/bin/true"))
    oci.ok("start", name)
    oci.until(name, "stopped")
    assert "container not running" in oci.fails("exec", name, "/bin/true", code=255)
    oci.ok("delete", name)


def test_exec_into_no_container_is_refused(oci):
    assert "container does not exist" in oci.fails("exec", "nothing", "/bin/true", code=255)


def test_a_detached_exec_returns_at_once_and_tells_the_pid(oci, running):
    path = oci.directory / "pid"
    null = {"capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    assert oci("exec", "--detach", "--pid-file", path, running, "/bin/sleep", "62", **null).returncode == 0
    words = Path(f"/proc/{int(path.read_text())}/cmdline").read_bytes().split(b"\0")
    assert words[:2] == [b"/bin/sleep", b"62"]


def test_a_failed_exec_leaves_no_pid_file(oci, running):
    (Path(oci.state(running)["rootfs"]) / "tmp/junk").write_text("junk")
    (Path(oci.state(running)["rootfs"]) / "tmp/junk").chmod(0o755)
    path = oci.directory / "pid"
    assert "exec format error" in oci.fails("exec", "--pid-file", path, running, "/tmp/junk", code=255)
    assert not path.exists()


def test_only_the_standard_streams_are_open(oci, running):
    assert (
        in_container(oci, running, "echo /proc/self/fd/*")
        == "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n"
    )
    for fd in range(3, 64):  # 3 is the directory that echo looks into
        document = process(oci, args=["/bin/ls"], cwd=f"/proc/self/fd/{fd}")
        oci.fails("exec", "--process", document, running, code=255)
        if fd == 12:
            break


def test_standard_input_reaches_it(oci, running):
    shell = oci.start("exec", running, "/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert shell.communicate(b"typed", timeout=60) == (b"typed", None)
    assert shell.returncode == 0


def test_signals_are_forwarded(oci, running):
    words = ("exec", running, "/bin/sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
    shell = oci.start(*words, stdout=subprocess.PIPE)
    assert shell.stdout
    assert shell.stdout.readline() == b"ready\n"
    shell.send_signal(signal.SIGTERM)
    assert shell.wait(60) == 42
    shell.stdout.close()


def test_an_interpreter_of_itself_is_not_the_hosts(oci, running):
    """CVE-2019-5736: what `#!/proc/self/exe` executes is the sealed stub, which is nobody's to change."""
    rootfs = Path(oci.state(running)["rootfs"])
    (rootfs / "tmp/self").write_text("#!/proc/self/exe\n")
    (rootfs / "tmp/self").chmod(0o755)
    assert oci("exec", running, "/tmp/self").returncode != 0


WRITER = """
while :; do
    for exe in /proc/[0-9]*/exe; do
        (echo overwritten >> "$exe") 2>/dev/null && readlink "$exe" >> /tmp/hits
    done
done
"""


def hashes(oci) -> dict[str, str]:
    """The interpreter of the command, and every file of the package."""
    interpreter = Path(commands.words_of(oci.executable)[0]).resolve()
    files = [interpreter, *(path for path in oci.package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.timeout(900)  # one processor has all the workers' turns as well
def test_a_thousand_execs_against_those_who_write_to_every_executable(root_oci):
    """CVE-2019-5736, as the machine's root without a user namespace: what there is to be written to is never the host's."""
    oci = root_oci
    before = hashes(oci)
    bundle = oci.bundle(script=WRITER)
    (bundle.rootfs / "self").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "self").chmod(0o755)
    name = oci.create(bundle)
    oci.ok("start", name)
    try:
        with ThreadPoolExecutor(2) as pool:
            codes = list(pool.map(lambda n: oci("exec", name, ("/bin/true", "/self")[n % 2]).returncode, range(1000)))
        assert set(codes[::2]) == {0}
        assert 0 not in codes[1::2]
        assert not (bundle.rootfs / "tmp/hits").exists()
        assert hashes(oci) == before
    finally:
        oci("delete", "--force", name)


def test_a_foreground_terminal_is_copied_to_and_from(oci, running):
    master, slave = os.openpty()
    shell = oci.start(
        "exec", "-t", running, "/bin/sh", "-c", "tty; read word; echo got $word; stty size", stdin=slave, stdout=slave
    )
    os.close(slave)
    said = b""
    while b"/dev/pts/" not in said:
        said += os.read(master, 4096)
    os.write(master, b"hello\n")
    try:
        while part := os.read(master, 4096):
            said += part
    except OSError:
        pass  # EIO: the other side is closed
    assert shell.wait(60) == 0
    os.close(master)
    assert b"/dev/pts/" in said
    assert b"got hello" in said


def test_a_proc_of_the_images_makes_no_terminal(root_oci):
    """What a descriptor's name leads to there is the container's to say: it must not be opened."""
    bundle = root_oci.bundle("/bin/sleep", "900").without("/proc").write()
    fake = bundle.rootfs / "proc/self/fd"
    fake.mkdir(parents=True)
    (bundle.rootfs / "canary").touch()
    for number in range(3, 64):
        (fake / str(number)).symlink_to("/canary")
    name = root_oci.create(bundle)
    root_oci.ok("start", name)
    master, slave = os.openpty()
    try:
        done = root_oci("exec", "-t", name, "/bin/sh", "-c", "test -t 0", stdin=slave)
        assert done.returncode == 0, done.stderr
    finally:
        os.close(master)
        os.close(slave)
        root_oci("delete", "--force", name)


def test_a_terminal_is_sent_to_the_console_socket(oci, running):
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        os.chmod(short, 0o777)
        path = f"{short}/s"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            os.chmod(path, 0o777)
            listening.listen()
            shell = oci.start(
                "exec", "-t", "-d", "--console-socket", path, running, "/bin/sh", "-c", "test -t 0 && echo yes; sleep 1"
            )
            connection, _ = listening.accept()
            _data, fds, _flags, _where = socket.recv_fds(connection, 64, 1)
            assert shell.wait(60) == 0
            assert os.read(fds[0], 64) == b"yes\r\n"
            os.close(fds[0])
            connection.close()


def test_a_terminal_with_nobody_to_copy_it_needs_a_console_socket(oci, running):
    assert "--console-socket" in oci.fails("exec", "-t", "-d", running, "/bin/true", code=255)


def test_descriptors_that_are_to_be_preserved_reach_the_program(oci, running):
    argv = oci.argv("exec", "--preserve-fds", "1", running, "/bin/sh", "-c", "read line <&3; echo $line")
    done = oci.person.run(["/bin/sh", "-c", 'exec "$@" 3</etc/hostname', "sh", *argv], timeout=30)
    assert done.stdout == Path("/etc/hostname").read_text()


def test_a_cgroup_below_the_containers_is_joined(oci, running):
    if oci.rootless or not Path("/sys/fs/cgroup/pids").is_dir():
        pytest.skip("takes a cgroup of the container's own, of v1")
    assert "does not exist" in oci.fails("exec", "--cgroup", "inner", running, "/bin/true", code=255)
    state = json.loads((oci.root / running / "state.json").read_text())
    made = [Path(directory, "inner") for directory in state["cgroup"].values()]
    for directory in made:
        directory.mkdir()
        if (directory / "cpuset.cpus").exists() and not (directory / "cpuset.cpus").read_text().strip():
            for file in ("cpuset.cpus", "cpuset.mems"):
                (directory / file).write_text((directory.parent / file).read_text())
    said = oci.ok("exec", "--cgroup", "inner", running, "/bin/cat", "/proc/self/cgroup")
    assert ":pids:/inner" in said
    said = oci.ok("exec", "--cgroup", "pids,memory:inner", running, "/bin/cat", "/proc/self/cgroup")
    assert (":pids:/inner" in said, ":memory:/inner" in said, ":freezer:/\n" in said) == (True, True, True)


def test_a_cgroup_that_is_none_is_said(oci, running):
    for flags, said in (
        (("--cgroup", "junk:x"), "no cgroup of a controller 'junk' alone"),
        (("--cgroup", "x", "--cgroup", "y"), "must be CONTROLLER:PATH"),
        (("--cgroup", "pids:x", "--cgroup", "cpu,pids:y"), "the controller pids has a path already"),
        (("--cgroup", ",pids:x"), "a controller is missing"),
        (("--cgroup", "../x"), "not a path of a cgroup"),
    ):
        assert said in oci.fails("exec", *flags, running, "/bin/true", code=255)


def test_an_unknown_capability_is_warned_of(oci, running):
    done = oci("exec", "--cap", "CAP_JUNK", running, "true")
    assert done.returncode == 0
    assert done.stderr == "crate-oci: warning: process.capabilities has 'CAP_JUNK', which is no capability\n"


def test_a_process_that_is_killed_on_its_way_leaves_nobody(oci, running):
    pid = oci.state(running)["pid"]
    theirs = os.readlink(f"/proc/{pid}/ns/pid")
    for delay in (0.02, 0.04, 0.06, 0.08, 0.1, 0.12):
        shell = oci.start("exec", running, "/bin/true")
        time.sleep(delay)
        shell.kill()
        shell.wait()
    deadline = time.monotonic() + 30
    while True:
        inside = [one for one in os.listdir("/proc") if one.isdigit() and link(f"/proc/{one}/ns/pid") == theirs]
        if inside == [str(pid)]:
            break
        assert time.monotonic() < deadline


def link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
