"""Who is in a cgroup, and who is not any more: joining by descriptor, signals by pidfd."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from cratebox.cgroup import base, mounts, tree
from cratebox.cgroup.v2 import V2
from cratebox.errors import RuntimeFailure
from cratebox.linux import namespaces
from cratebox.runtime import control, ending

UNIFIED = mounts.find()[1]
SOURCE = Path(__file__).resolve().parents[2] / "src"
needs_v2 = pytest.mark.skipif(
    os.geteuid() != 0 or UNIFIED is None or not os.access(UNIFIED.mountpoint, os.W_OK),
    reason="needs root and a writable mount of cgroup v2",
)


@pytest.fixture
def cgroup():
    made = V2(UNIFIED.mountpoint).create(f"crate-test-{uuid.uuid4().hex[:8]}")
    yield made
    made.kill()
    made.remove()


@pytest.fixture
def victim():
    process = subprocess.Popen(["sleep", "900"])
    yield process
    process.kill()
    process.wait()


def _membership(pid: int | str = "self") -> str:
    return next(line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::"))


@needs_v2
def test_a_process_joins_v2_by_descriptor(cgroup):
    fds = cgroup.join_fds()
    pid = os.fork()
    if pid == 0:
        for fd in fds:
            os.write(fd, b"0")
        os._exit(int(not _membership().endswith(os.path.basename(cgroup.directory))))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert fds
    cgroup.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fds[0])


def test_a_cgroup_that_says_nothing_about_joining_is_an_error_and_not_silence():
    with pytest.raises(NotImplementedError):
        base.Cgroup({"unified": "/nowhere"}).join_fds()
    assert base.from_paths({}).join_fds() == ()


def test_a_driver_says_whether_its_children_are_born_inside():
    assert (V2("/nowhere").born_inside, base.Disabled("why").born_inside) == (True, False)


_CREATE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from cratebox.cgroup.v2 import V2
from cratebox.runtime import create, spec, wish
made = []
def make(_pid):
    made.append(V2(sys.argv[3]).create(sys.argv[4]))
    return made[-1]
document = spec.decode(json.loads(open(sys.argv[2] + "/config.json").read()))
created = create.create(wish.Wish(spec=document, bundle=sys.argv[2], make_cgroup=make))
print(json.dumps([line for line in open(f"/proc/{created.pid}/cgroup").read().splitlines() if line.startswith("0::")]))
create.end(created)
made[0].remove()
"""


@needs_v2
def test_a_container_is_in_a_cgroup_of_v2_that_is_made_while_it_mounts(root_oci):
    bundle = root_oci.bundle("/bin/true").write()
    name = f"crate-test-{uuid.uuid4().hex[:8]}"
    argv = [sys.executable, "-c", _CREATE, str(SOURCE), str(bundle.directory), UNIFIED.mountpoint, name]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [f"0::{UNIFIED.root.rstrip('/')}/{name}"]


def test_a_number_that_is_not_of_the_cgroup_any_more_gets_no_signal(victim, monkeypatch):
    listed = [[victim.pid], [victim.pid], []]
    monkeypatch.setattr(tree, "processes", lambda _cgroup: listed.pop(0) if listed else [])
    tree.kill_each("/sys/fs/cgroup/nowhere")
    with pytest.raises(subprocess.TimeoutExpired):
        victim.wait(0.2)


def test_who_is_in_the_cgroup_gets_the_signal(victim, monkeypatch):
    monkeypatch.setattr(tree, "processes", lambda _cgroup: [victim.pid])
    assert base.Cgroup({"freezer": "/sys/fs/cgroup/nowhere"}).signal(signal.SIGTERM) == 1
    assert victim.wait(60) == -signal.SIGTERM


def test_a_number_that_is_not_of_the_pid_namespace_any_more_gets_no_signal(victim, monkeypatch):
    asked: list[int] = []

    def pid_namespace(pid: int) -> str:
        asked.append(pid)
        return "another" if pid == victim.pid else "pid:[1]"

    monkeypatch.setattr(control, "namespace_pids", lambda _leader: [victim.pid])  # as it was a moment ago
    monkeypatch.setattr(control, "pid_namespace", pid_namespace)
    ending._signal_namespace(os.getpid(), signal.SIGTERM)
    assert asked == [os.getpid(), victim.pid]
    with pytest.raises(subprocess.TimeoutExpired):
        victim.wait(0.2)


def test_a_child_comes_with_its_pidfd():
    pid, pidfd = namespaces.clone(0)
    if pid == 0:
        os._exit(7 if pidfd == -1 else 1)
    assert f"Pid:\t{pid}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    assert not os.get_inheritable(pidfd)
    assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status == 7
    os.close(pidfd)


_NO_DESCRIPTORS = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from cratebox.linux import namespaces
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    pid = namespaces.clone(0)
except OSError as error:
    assert error.errno == 24, error
else:
    os._exit(1)
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    os._exit(0)
os._exit(2)
"""


def test_without_a_descriptor_for_the_pidfd_there_is_no_child():
    done = subprocess.run([sys.executable, "-c", _NO_DESCRIPTORS, str(SOURCE)], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr)


def test_a_cgroup_that_stays_in_use_is_an_error(monkeypatch, tmp_path):
    from cratebox.errors import Conflict
    from cratebox.runtime import place

    class Driver(base.Driver):
        def clear(self, path):
            raise Conflict(f"cgroup {path} is in use by process 7")

    monkeypatch.setattr(place, "driver", lambda **_words: Driver())
    monkeypatch.setattr(place, "_TRIES", 2, raising=False)
    state = place.saved.State("", "x", "", 0, 0, "", 0.0, cgroups_path="crate-oci/x")
    with pytest.raises(RuntimeFailure, match="in use by process 7"):
        place.remove_cgroup(state, str(tmp_path))
