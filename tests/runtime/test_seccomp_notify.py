"""SCMP_ACT_NOTIFY: a listener of the test's own is given the descriptor, and answers for the container."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
import threading
import time

import pytest

from cratebox.errors import Unsupported
from cratebox.linux import const
from cratebox.runtime import seccomp, seccomp_compile
from cratebox.runtime.spec import Seccomp, Syscall

# linux/seccomp.h: struct seccomp_notif (id, pid, flags, nr, arch, instruction pointer, 6 arguments), struct seccomp_notif_resp
RECEIVE, ANSWER = 0xC0502100, 0xC0182101
NOTIF, RESPONSE = "=QIIiIQ6Q", "=QqiI"
EXDEV = 18


class Agent(threading.Thread):
    """Take one connection; answer every notification with EXDEV until the container is gone."""

    def __init__(self, path):
        super().__init__()
        self.said, self.fds, self.numbers = None, 0, []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(path)
        os.chmod(path, 0o666)
        self.socket.listen(1)
        self.socket.settimeout(30)
        self.start()

    def close(self):
        """Stop waiting for somebody who never came."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join(30)
        self.socket.close()

    def run(self):
        try:
            connection, _ = self.socket.accept()
        except OSError:
            return
        data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(64))
        while more := connection.recv(65536):
            data += more
        connection.close()
        self.said = json.loads(data)
        fds = array.array("i", ancillary[0][2])
        self.fds = len(fds)
        self.answer(fds[0])
        os.close(fds[0])

    def answer(self, fd):
        import select

        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while poll.poll(20_000)[0][1] & select.POLLIN:
            asked = bytearray(struct.calcsize(NOTIF))
            try:
                fcntl.ioctl(fd, RECEIVE, asked)
            except FileNotFoundError:
                continue
            identity, _pid, _flags, number, *_ = struct.unpack(NOTIF, asked)
            self.numbers.append(number)
            fcntl.ioctl(fd, ANSWER, struct.pack(RESPONSE, identity, 0, -EXDEV, 0))


@pytest.fixture
def agent(tmp_path_factory):
    path = f"/tmp/agent-{os.getpid()}-{threading.get_native_id()}.sock"
    made = Agent(path)
    made.path = path
    yield made
    made.close()
    os.unlink(path)


def profile(agent, **fields):
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}
    return {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.path, "syscalls": [rule], **fields}


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_listener_gets_the_descriptor_and_decides(oci, agent, no_new_privileges):
    bundle = oci.bundle("/bin/sh", "-c", "mkdir /tmp/x; ls /tmp")
    bundle.linux["seccomp"] = profile(
        agent, listenerMetadata="for the agent", flags=["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    )
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.spec["annotations"] = {"some": "thing"}
    bundle.write()
    name = oci.name()
    done = oci("run", "--bundle", bundle.directory, name)
    agent.join(30)
    assert "Invalid cross-device link" in done.stderr
    assert (done.returncode, done.stdout) == (0, "")
    assert agent.fds == 1
    assert len(agent.numbers) == 1
    assert (agent.said["ociVersion"], agent.said["fds"], agent.said["metadata"]) == ("1.3.0", ["seccompFd"], "for the agent")
    state = agent.said["state"]
    assert (state["id"], state["status"], state["pid"]) == (name, "creating", agent.said["pid"])
    assert (state["bundle"], state["annotations"]) == (str(bundle.directory), {"some": "thing"})


def test_a_created_container_has_its_listener_before_it_is_started(oci, agent):
    bundle = oci.bundle("/bin/mkdir", "/tmp/x")
    bundle.linux["seccomp"] = profile(agent)
    name = oci.create(bundle)
    deadline = time.monotonic() + 30
    while agent.said is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert agent.said["pid"] == oci.state(name)["pid"]
    assert agent.numbers == []
    oci.ok("start", name)
    oci.until(name, "stopped")
    agent.join(30)
    assert len(agent.numbers) == 1
    oci.ok("delete", name)


def test_a_process_that_joins_has_a_listener_of_its_own(oci, agent):
    """Each of them has a filter, and a listener, of its own."""
    if "not there yet" in oci.fails("exec", "--process", "/no/such/file", "box", code=oci("exec").returncode):
        pytest.skip("crate-oci has no exec yet")
    bundle = oci.bundle("/bin/sleep", "900")
    bundle.linux["seccomp"] = profile(agent)
    name = oci.create(bundle)
    oci.ok("start", name)
    second = Agent(agent.path + ".second")
    second.path = agent.path
    os.rename(agent.path + ".second", agent.path)
    try:
        (oci.directory / "p.json").write_text(
            json.dumps({"cwd": "/", "args": ["mkdir", "/tmp/y"], "env": bundle.process["env"]})
        )
        done = oci("exec", "--process", oci.directory / "p.json", name)
        second.join(30)
        assert "Invalid cross-device link" in done.stderr
        assert second.said["state"]["status"] == "running"
        assert second.said["pid"] != second.said["state"]["pid"] == oci.state(name)["pid"]
        assert len(second.numbers) == 1
        assert agent.numbers == []
    finally:
        second.close()
        oci.ok("delete", "--force", name)


def test_without_a_listener_nothing_is_left_of_the_container(oci):
    bundle = oci.bundle("/bin/true")
    rules = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
    listener = "/tmp/no/such/listener"
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": listener, "syscalls": rules}
    bundle.write()
    assert f"filter of system calls to '{listener}'" in oci.fails("create", "--bundle", bundle.directory, oci.name())
    assert oci.left() == []


def test_a_listener_that_nobody_asks_is_not_called(oci):
    bundle = oci.bundle("/bin/true")
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/listener", "syscalls": []}
    oci.output(bundle)


def test_the_flags_of_a_filter_that_asks_are_those_the_kernel_takes_together():
    rule = Syscall(names=("mkdir",), action="SCMP_ACT_NOTIFY")
    asking = Seccomp(default_action="SCMP_ACT_ALLOW", listener_path="/x", syscalls=(rule,))
    assert seccomp_compile.filter_flags(asking) == (
        const.SECCOMP_FILTER_FLAG_NEW_LISTENER | const.SECCOMP_FILTER_FLAG_SPEC_ALLOW
    )
    flags = ("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
    assert seccomp_compile.filter_flags(asking.replace(flags=flags)) == 1 | 8 | 16 | 32
    assert seccomp_compile.filter_flags(asking.replace(flags=flags, syscalls=())) == 1


def test_a_container_of_the_engine_has_nobody_who_would_answer():
    from cratebox.runtime import create, spec

    rule = Syscall(names=("mkdir",), action="SCMP_ACT_NOTIFY")
    asking = Seccomp(default_action="SCMP_ACT_ALLOW", listener_path="/x", syscalls=(rule,))
    document = spec.decode({"ociVersion": "1.3.0", "process": {"cwd": "/", "args": ["x"]}, "linux": {}})
    wish = create.Wish(spec=document, bundle="/", filter=seccomp.compile_filter(asking))
    with pytest.raises(Unsupported, match="nobody would answer"):
        create.begin(wish)
