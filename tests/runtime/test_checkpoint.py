"""checkpoint and restore, where criu works: the processes go on as they were, below the mounts and limits of the spec."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from support import people
from support.bundles import Bundle, Oci

COUNT = "i=0; while :; do i=$((i+1)); echo $i >> /tmp/n; sleep 0.02; done"


def why_not() -> str:
    """What keeps criu from working here, in its own words."""
    program = shutil.which("criu")
    if reason := people.why_not("root"):
        return reason
    if not program:
        return "criu is not installed"
    done = subprocess.run([program, "check"], capture_output=True, text=True, timeout=60)
    return f"criu check: {(done.stderr or done.stdout).strip()[-200:]}" if done.returncode else ""


REASON = why_not()
needs_criu = pytest.mark.skipif(bool(REASON), reason=REASON or "-")


@pytest.fixture
def box(root_oci: Oci, tmp_path: Path) -> Criu:
    return Criu(root_oci, tmp_path / "images")


class Criu:
    """`crate-oci` with this machine's criu, and a directory for images."""

    def __init__(self, oci: Oci, images: Path) -> None:
        self.oci = oci
        self.images = images
        self.program = shutil.which("criu") or "criu"

    def words(self, verb: str, *args: str | Path, images: Path | None = None) -> list[str | Path]:
        return ["--criu", self.program, verb, "--image-path", images or self.images, *args]

    def run(self, bundle: Bundle) -> str:
        name = self.oci.create(bundle)
        self.oci.ok("start", name)
        return name

    def counting(self, bundle: Bundle | None = None) -> tuple[str, Path]:
        """A container that counts, and the file it counts in."""
        bundle = bundle or self.oci.bundle(script=COUNT)
        name = self.run(bundle)
        wait_for(lambda: count(bundle.rootfs / "tmp/n") > 3)
        return name, bundle.rootfs / "tmp/n"

    def checkpoint(self, name: str, *flags: str | Path, images: Path | None = None) -> None:
        self.oci.ok(*self.words("checkpoint", *flags, name, images=images), timeout=120)

    def restore(self, bundle: Path, name: str, *flags: str | Path, images: Path | None = None) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "capture_output": False}
        words = self.words("restore", "--detach", "--bundle", bundle, *flags, name, images=images)
        self.oci.ok(*words, timeout=120, **quiet)

    def refuses(self, verb: str, *args: str | Path, images: Path | None = None) -> str:
        return self.oci.fails(*self.words(verb, *args, images=images), timeout=120)


def count(path: Path) -> int:
    """The last number that was counted, which must come after the one before."""
    try:
        numbers = [int(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    except FileNotFoundError:
        return 0
    assert numbers == list(range(1, len(numbers) + 1))
    return len(numbers)


def wait_for(what) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def goes_on(path: Path) -> bool:
    before = count(path)
    wait_for(lambda: count(path) > before + 3)
    return True


def directory(path: Path) -> Path:
    return path.parent.parent.parent


def mounts(pid: int) -> list[str]:
    """Root, place and options of all mounts; what the machine counts is left out."""
    rows = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return sorted(" ".join((*row[3:6], row[row.index("-") + 1])) for row in rows)


def cgroups(name: str) -> list[Path]:
    return [Path(where) for where, _names, _files in os.walk("/sys/fs/cgroup") if os.path.basename(where) == name]


@needs_criu
def test_a_container_goes_on_where_it_was(box):
    name, numbers = box.counting()
    box.checkpoint(name)
    assert box.oci.left() == []
    assert cgroups(name) == []
    before = count(numbers)
    box.restore(directory(numbers), name)
    assert box.oci.status(name) == "running"
    assert goes_on(numbers)
    assert count(numbers) > before
    box.oci.ok("kill", name, "KILL")
    box.oci.until(name, "stopped")
    box.oci.ok("delete", name)
    assert cgroups(name) == []


@needs_criu
def test_with_leave_running_both_go_on(box):
    name, numbers = box.counting()
    box.checkpoint(name, "--leave-running")
    assert box.oci.status(name) == "running"
    assert goes_on(numbers)
    assert (box.images.stat().st_mode & 0o777, box.images.stat().st_uid) == (0o700, 0)


@needs_criu
def test_a_paused_container_can_be_written(box):
    name, numbers = box.counting()
    box.oci.ok("pause", name)
    box.checkpoint(name, "--leave-running")
    assert box.oci.status(name) == "paused"
    box.oci.ok("resume", name)
    assert goes_on(numbers)


@needs_criu
def test_a_dump_writes_what_changed_since_a_pre_dump(box, tmp_path):
    if subprocess.run([box.program, "check", "--feature", "mem_dirty_track"], capture_output=True, timeout=60).returncode:
        pytest.skip("this kernel does not tell which memory has changed")
    name, numbers = box.counting()
    box.checkpoint(name, "--pre-dump", images=tmp_path / "first")
    assert goes_on(numbers)
    assert "must be relative" in box.refuses("checkpoint", "--parent-path", tmp_path / "first", name)
    assert "no such directory" in box.refuses("checkpoint", "--parent-path", "../nowhere", name)
    box.checkpoint(name, "--parent-path", "../first")
    assert (box.images / "parent").is_symlink()
    box.restore(directory(numbers), name)
    assert goes_on(numbers)


@needs_criu
def test_mounts_limits_and_names_are_those_of_the_spec(box, tmp_path):
    bundle = box.oci.bundle(script=COUNT.replace("/tmp/n", "/shown/n"))
    for one in ("shown", "kept"):
        (tmp_path / one).mkdir()
    (tmp_path / "kept/file").write_text("x")
    bundle.mount("/shown", tmp_path / "shown", "rbind", "nosuid")
    bundle.mount("/kept", tmp_path / "kept", "rbind", "ro")
    bundle.mount("/again", tmp_path / "kept", "bind", "ro", "noexec")
    bundle.mount("/etc/one", tmp_path / "kept/file", "bind", "ro")
    bundle.spec["root"]["readonly"] = True
    bundle.linux["resources"] = {"pids": {"limit": 33}}
    name, numbers = box.run(bundle), tmp_path / "shown/n"
    wait_for(lambda: count(numbers) > 3)
    before = mounts(box.oci.state(name)["pid"])
    box.checkpoint(name)
    box.restore(bundle.directory, name)
    assert mounts(box.oci.state(name)["pid"]) == before
    assert goes_on(numbers)
    assert {one.read_text() for group in cgroups(name) for one in group.glob("pids.max")} == {"33\n"}
    pid = str(box.oci.state(name)["pid"])
    assert pid in {word for group in cgroups(name) for word in (group / "cgroup.procs").read_text().split()}
    assert box.oci.ok("exec", name, "hostname") == "box\n"


@needs_criu
def test_a_namespace_that_was_joined_is_joined_again(box):
    first = box.run(box.oci.bundle("/bin/sleep", "3600"))
    space = f"/proc/{box.oci.state(first)['pid']}/ns/net"
    bundle = box.oci.bundle(script=COUNT)
    bundle.linux["namespaces"] = [one for one in bundle.linux["namespaces"] if one["type"] != "network"]
    bundle.linux["namespaces"].append({"type": "network", "path": space})
    name, numbers = box.counting(bundle)
    box.checkpoint(name)
    box.restore(bundle.directory, name)
    assert goes_on(numbers)
    assert os.readlink(f"/proc/{box.oci.state(name)['pid']}/ns/net") == os.readlink(space)


@needs_criu
def test_the_foreground_has_the_streams_and_the_exit_code(box):
    bundle = box.oci.bundle(script=f"trap 'echo last; exit 7' TERM; {COUNT}").write()
    name = box.oci.name()
    quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = box.oci.start("run", "--bundle", bundle.directory, name, stdout=subprocess.PIPE, **quiet)
    wait_for(lambda: count(bundle.rootfs / "tmp/n") > 3)
    box.checkpoint(name)
    assert first.wait(60) == 137
    first.stdout.close()
    words = box.words("restore", "--bundle", bundle.directory, name)
    second = box.oci.start(*words, stdout=subprocess.PIPE, **quiet)
    wait_for(lambda: name in box.oci.left() and box.oci.status(name) == "running")
    assert goes_on(bundle.rootfs / "tmp/n")
    second.terminate()  # goes to the container
    assert second.communicate(timeout=60)[0] == b"last\n"
    assert second.returncode == 7
    assert box.oci.left() == []


@needs_criu
def test_a_terminal_is_sent_again(box, tmp_path):
    bundle = box.oci.bundle(script=COUNT + " & while read word; do echo you said $word; done")
    bundle.process["terminal"] = True
    name, path = box.oci.name(), str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        door.settimeout(60)
        box.oci.create(bundle, "--console-socket", path, name=name)
        old = received(door)
        box.oci.ok("start", name)
        wait_for(lambda: count(bundle.rootfs / "tmp/n") > 3)
        box.checkpoint(name)
        os.close(old)
        assert "console-socket" in box.refuses("restore", "--detach", "--bundle", bundle.directory, name)
        box.restore(bundle.directory, name, "--console-socket", path)
        new = received(door)
    os.write(new, b"hello\n")
    heard = b""
    while b"you said hello" not in heard:
        heard += os.read(new, 4096)
    os.close(new)


def received(door: socket.socket) -> int:
    with door.accept()[0] as one:
        return socket.recv_fds(one, 64, 1)[1][0]


@needs_criu
def test_a_terminal_in_the_foreground_is_copied(box):
    loop = "while read word; do [ $word = end ] && exit 5; echo got $word; done"
    bundle = box.oci.bundle(script=f"stty -echo; echo > /tmp/r; {loop}")
    bundle.process["terminal"] = True
    bundle.write()
    name = box.oci.name()
    ours, theirs = pty.openpty()
    first = box.oci.start("run", "--bundle", bundle.directory, name, stdin=theirs, stdout=theirs, stderr=theirs)
    wait_for((bundle.rootfs / "tmp/r").exists)
    box.checkpoint(name)
    assert first.wait(60) == 137
    words = box.words("restore", "--bundle", bundle.directory, name)
    second = box.oci.start(*words, stdin=theirs, stdout=theirs, stderr=theirs)
    wait_for(lambda: name in box.oci.left() and box.oci.status(name) == "running")
    os.write(ours, b"word\nend\n")
    assert second.wait(60) == 5
    os.close(theirs)
    os.set_blocking(ours, False)
    assert b"got word" in os.read(ours, 65536)
    os.close(ours)


@needs_criu
def test_hooks_and_the_pid_file_belong_to_it(box, tmp_path):
    bundle = box.oci.bundle(script=COUNT)
    said = tmp_path / "said"
    hook = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >> {said}; cat >> {said}.json"]}]
            for kind in ("createRuntime", "poststart", "poststop")}  # fmt: skip
    bundle.spec["hooks"] = hook
    name, numbers = box.counting(bundle)
    box.checkpoint(name)
    assert said.read_text().split() == ["createRuntime", "poststart", "poststop"]
    box.restore(bundle.directory, name, "--pid-file", tmp_path / "pid")
    assert said.read_text().split()[3:] == ["createRuntime", "poststart"]
    assert int((tmp_path / "pid").read_text()) == box.oci.state(name)["pid"]
    assert goes_on(numbers)


@needs_criu
@pytest.mark.parametrize("kind", ["createRuntime", "poststart"])
def test_a_failing_hook_ends_a_restore_and_nothing_is_left(box, kind):
    bundle = box.oci.bundle(script=COUNT)
    name, numbers = box.counting(bundle)
    box.checkpoint(name)
    bundle.spec["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo no; exit 3"]}]}
    bundle.write()
    assert f"hook {kind}[0]" in box.refuses("restore", "--bundle", bundle.directory, name)
    nothing_is_left(box, name, numbers)


def nothing_is_left(box: Criu, name: str, numbers: Path) -> None:
    assert box.oci.left() == []
    assert cgroups(name) == []
    assert str(directory(numbers)) not in Path("/proc/mounts").read_text()
    before = count(numbers)
    time.sleep(0.3)
    assert count(numbers) == before


@needs_criu
def test_a_restore_that_is_killed_leaves_nothing(box, tmp_path):
    """Killed while a hook waits: the processes are there by then."""
    bundle = box.oci.bundle(script=COUNT)
    name, numbers = box.counting(bundle)
    box.checkpoint(name)
    here = tmp_path / "here"
    wait = f"echo > {here}; exec sleep 3600"
    bundle.spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", wait]}]}
    bundle.write()
    words = box.words("restore", "--detach", "--bundle", bundle.directory, "--pid-file", tmp_path / "pid", name)
    running = box.oci.start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(here.exists)
    hook = [int(one) for one in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
    running.send_signal(signal.SIGKILL)
    running.wait(60)
    wait_for(lambda: not box.oci.left())
    nothing_is_left(box, name, numbers)
    for pid in hook:  # the hook is its own master
        if Path(f"/proc/{pid}/comm").exists() and Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
            os.kill(pid, signal.SIGKILL)


@needs_criu
def test_a_failing_dump_leaves_the_container_running_and_says_why(box, tmp_path):
    """A connection, without --tcp-established."""
    connected = "nc -l -p 99 -e sleep 3600 & until nc 127.0.0.1 99 -e sh -c '> /tmp/c; exec sleep 3600'; do :; done"
    script = f"{connected} & {COUNT}"
    bundle = box.oci.bundle(script=script)
    name, numbers = box.counting(bundle)
    wait_for((bundle.rootfs / "tmp/c").exists)
    said = box.refuses("checkpoint", "--work-path", tmp_path / "work", name)
    assert "tcp-established" in said
    assert str(tmp_path / "work/dump.log") in said
    assert box.oci.status(name) == "running"
    assert goes_on(numbers)


@needs_criu
def test_images_that_are_none_are_an_error_and_nothing_is_left(box, tmp_path):
    name, numbers = box.counting()
    box.checkpoint(name)
    where = directory(numbers)
    assert "there are no images" in box.refuses("restore", "--bundle", where, name, images=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir(mode=0o700)
    assert "there are no images" in box.refuses("restore", "--bundle", where, name, images=tmp_path / "empty")
    for image in ("inventory.img", "pstree.img", "core-1.img", "pages-1.img", "descriptors.json"):
        copy = tmp_path / f"cut-{image}"
        shutil.copytree(box.images, copy)
        content = (copy / image).read_bytes()
        (copy / image).write_bytes(content[: len(content) // 2])
        said = box.refuses("restore", "--bundle", where, name, images=copy)
        assert "criu cannot restore" in said or "damaged" in said, said
        nothing_is_left(box, name, numbers)
    box.restore(where, name)
    assert goes_on(numbers)


@needs_criu
def test_images_that_others_could_write_are_refused(box):
    name, numbers = box.counting()
    box.checkpoint(name)
    where = directory(numbers)
    box.images.chmod(0o777)
    assert "can be written by others" in box.refuses("restore", "--bundle", where, name)
    box.images.chmod(0o700)
    os.chown(box.images / "core-1.img", 1000, 1000)
    assert "core-1.img can be written by others" in box.refuses("restore", "--bundle", where, name)
    os.chown(box.images / "core-1.img", 0, 0)
    (box.images / "extra.img").symlink_to("/etc/passwd")
    assert "neither a file nor" in box.refuses("restore", "--bundle", where, name)
    assert box.oci.left() == []


@needs_criu
def test_an_id_that_is_taken_stays_what_it_is(box):
    name, numbers = box.counting()
    box.checkpoint(name, "--leave-running")
    assert "already exists" in box.refuses("restore", "--bundle", directory(numbers), name)
    assert goes_on(numbers)


@needs_criu
def test_only_what_runs_is_written(box):
    assert "does not exist" in box.refuses("checkpoint", "nobody")
    name = box.oci.create(box.oci.bundle("/bin/true"))
    assert "created container" in box.refuses("checkpoint", name)
    box.oci.ok("start", name)
    box.oci.until(name, "stopped")
    assert "container not running" in box.refuses("checkpoint", name)


@needs_criu
def test_what_is_not_done_is_refused_by_name(box):
    name, numbers = box.counting()
    assert "--page-server" in box.refuses("checkpoint", "--page-server", "nowhere", name)
    assert "pivot_root" in box.refuses("restore", "--no-pivot", "--bundle", directory(numbers), "other")
    assert goes_on(numbers)


def has_lazy_pages() -> bool:
    done = subprocess.run(
        [shutil.which("criu") or "criu", "check", "--feature", "uffd-noncoop"], capture_output=True, timeout=60
    )
    return done.returncode == 0


@needs_criu
def test_memory_that_is_lazy_is_fetched_when_it_is_used(box, tmp_path):
    """One checkpoint serves it, until a restore beside it has all: nothing of it lies in the images."""
    if not has_lazy_pages():
        pytest.skip("this kernel, or this criu, has no lazy pages")
    holds = f"x=$(head -c 2000000 /dev/zero | tr '\\0' a); {COUNT.replace('echo', 'echo ${#x} > /tmp/holds; echo')}"
    name, numbers = box.counting(box.oci.bundle(script=holds))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    reading, writing = os.pipe()
    flags = ("--lazy-pages", "--page-server", f"127.0.0.1:{port}", "--status-fd", str(writing))
    dump = box.oci.start(*box.words("checkpoint", *flags, name), pass_fds=(writing,), stderr=subprocess.PIPE)
    os.close(writing)
    daemon = None
    try:
        assert os.read(reading, 1) == b"\0", dump.communicate(timeout=60)
        assert sum(one.stat().st_size for one in box.images.glob("pages-*.img")) < 1_000_000
        work = tmp_path / "work"
        work.mkdir(mode=0o700)
        fetch = ["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", port, "-D", box.images, "-W", work]
        daemon = subprocess.Popen([box.program, *fetch], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for((work / "lazy-pages.socket").exists)
        (numbers.parent / "holds").unlink()
        box.restore(directory(numbers), "other", "--lazy-pages", "--work-path", work)
        assert goes_on(numbers)
        assert (numbers.parent / "holds").read_text() == "2000000\n"
        assert dump.wait(60) == 0, dump.stderr.read()
        assert daemon.wait(60) == 0
        assert goes_on(numbers)
    finally:
        os.close(reading)
        for one in (dump, daemon):
            if one:
                one.kill()
                one.wait(60)
        dump.stderr.close()
    assert [one for one in box.oci.left() if one == name] == []


@needs_criu
def test_flags_of_lazy_memory_go_together_or_not_at_all(box):
    name, numbers = box.counting()
    assert "--page-server" in box.refuses("checkpoint", "--lazy-pages", name)
    serve = ("--lazy-pages", "--page-server", "127.0.0.1:9")
    assert "--pre-dump" in box.refuses("checkpoint", *serve, "--pre-dump", name)
    assert "--lazy-pages" in box.refuses("checkpoint", "--status-fd", "1", name)
    for wrong in ("77", "-1", "stdout"):
        assert "--status-fd" in box.refuses("checkpoint", *serve, "--status-fd", wrong, name)
    with Path("/dev/null").open("rb") as only_read:
        flags = (*serve, "--status-fd", str(only_read.fileno()))
        assert "not open for writing" in box.oci.fails(*box.words("checkpoint", *flags, name), pass_fds=(only_read.fileno(),))
    assert goes_on(numbers)


@needs_criu
def test_a_user_namespace_is_refused(box):
    bundle = box.oci.bundle("/bin/sleep", "3600")
    maps = [{"containerID": 0, "hostID": 0, "size": 65536}]
    bundle.linux["namespaces"].append({"type": "user"})
    bundle.linux.update({"uidMappings": maps, "gidMappings": maps})
    name = box.run(bundle)
    assert "user namespace" in box.refuses("checkpoint", name)
    assert "user namespace" in box.refuses("restore", "--bundle", bundle.directory, "other")
    assert box.oci.status(name) == "running"


@needs_criu
def test_features_tell_that_containers_can_be_written(box):
    found = json.loads(box.oci.ok("--criu", box.program, "features"))
    assert found["annotations"]["org.opencontainers.runc.checkpoint.enabled"] == "true"


def test_without_criu_it_is_said_what_to_install(root_oci):
    name = root_oci.create(root_oci.bundle("/bin/sleep", "3600"))
    root_oci.ok("start", name)
    said = root_oci.fails("--criu", "/nowhere/criu", "checkpoint", name)
    assert "/nowhere/criu, which is not installed" in said
    assert "apt-get install criu" in said
    assert root_oci.status(name) == "running"
    found = json.loads(root_oci.ok("--criu", "/nowhere/criu", "features"))
    assert found["annotations"]["org.opencontainers.runc.checkpoint.enabled"] == "false"


def test_a_user_is_told_that_it_is_roots(oci, tmp_path):
    if not oci.rootless:
        pytest.skip("of an ordinary user")
    name = oci.create(oci.bundle("/bin/sleep", "3600"))
    oci.ok("start", name)
    assert "root's" in oci.fails("checkpoint", name)
    assert "root's" in oci.fails("restore", "--bundle", oci.directory / "bundle1", "other")
    assert oci.status(name) == "running"
