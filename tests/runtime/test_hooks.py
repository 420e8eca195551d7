"""Hooks: when and where each kind runs, what it is told, and what comes of one that fails or hangs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
NULL: dict[str, Any] = {"capture_output": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def hook(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], **more}


@pytest.fixture
def log(oci) -> Path:
    path = oci.directory / "log"
    path.touch()
    path.chmod(0o666)
    return path


def with_hooks(oci, log: Path, *kinds: str, script: str = "sleep 900"):
    """A bundle whose hooks write down their names and what they read; the container sees the log as /tmp/log."""
    bundle = oci.bundle(script=script)
    (bundle.rootfs / "tmp/log").touch()
    (bundle.rootfs / "tmp/log").chmod(0o666)
    bundle.mount("/tmp/log", log)
    bundle.spec["hooks"] = {
        kind: [hook(f'echo {kind} "$(cat)" >> {"/tmp/log" if kind == "startContainer" else log}')] for kind in kinds or KINDS
    }
    return bundle


def ran(log: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(kind, json.loads(state)) for kind, _, state in (line.partition(" ") for line in log.read_text().splitlines())]


def test_every_kind_runs_in_its_order_and_is_told_the_state(oci, log):
    bundle = with_hooks(oci, log, script="echo program {} >> /tmp/log; sleep 900")
    bundle.spec["annotations"] = {"org.example": "x"}
    name = oci.create(bundle)
    assert [kind for kind, _ in ran(log)] == ["prestart", "createRuntime", "createContainer"]
    pid = oci.state(name)["pid"]
    oci.ok("start", name)
    oci.ok("delete", "--force", name)
    found = ran(log)
    assert sorted(kind for kind, _ in found) == sorted([*KINDS, "program"])
    assert found[3][0] == "startContainer"
    assert found[-1][0] == "poststop"
    told = dict(found)
    assert [told[kind]["status"] for kind in KINDS] == ["creating", "creating", "creating", "created", "running", "stopped"]
    assert [told[kind]["pid"] for kind in KINDS] == [pid, pid, 1, 1, pid, 0]
    for kind in KINDS:
        assert (told[kind]["id"], told[kind]["bundle"]) == (name, str(bundle.directory))
        assert told[kind]["annotations"] == {"org.example": "x"}
        assert told[kind]["ociVersion"] == "1.2.0"


def test_hooks_of_create_run_before_start(oci, log):
    name = oci.create(with_hooks(oci, log, "prestart", "poststop"))
    assert [kind for kind, _ in ran(log)] == ["prestart"]
    oci.ok("delete", name)
    assert [kind for kind, _ in ran(log)] == ["prestart", "poststop"]


def test_each_kind_runs_in_its_namespaces(oci, log):
    bundle = oci.bundle("/bin/sleep", "900")
    (bundle.rootfs / "tmp/log").touch()
    (bundle.rootfs / "tmp/log").chmod(0o666)
    bundle.mount("/tmp/log", log)
    where = "$(ls -d {1} >/dev/null && echo outside || echo inside)"
    script = 'echo {0} "$(readlink /proc/self/ns/uts)" ' + where + " >> {2}"
    bundle.spec["hooks"] = {
        "createRuntime": [hook(script.format("runtime", oci.directory, log))],
        "createContainer": [hook(script.format("container", oci.directory, log))],
        "startContainer": [hook(script.format("start", oci.directory, "/tmp/log"))],
    }
    name = oci.create(bundle)
    theirs = os.readlink(f"/proc/{oci.state(name)['pid']}/ns/uts") if not oci.rootless else None
    oci.ok("start", name)
    lines = {line.split()[0]: line.split()[1:] for line in log.read_text().splitlines()}
    assert lines["runtime"][0] == os.readlink("/proc/self/ns/uts")
    assert lines["container"][0] == lines["start"][0] != lines["runtime"][0]
    assert theirs is None or lines["start"][0] == theirs
    assert lines["container"][1] == "outside"  # before pivot_root
    assert lines["start"][1] == "inside"
    oci.ok("delete", "--force", name)


def test_several_hooks_run_in_their_order(oci, log):
    bundle = with_hooks(oci, log)
    bundle.spec["hooks"] = {"createRuntime": [hook(f"echo {word} >> {log}") for word in ("one", "two", "three")]}
    oci.ok("delete", oci.create(bundle))
    assert log.read_text().split() == ["one", "two", "three"]


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_ends_create(oci, log, kind):
    bundle = with_hooks(oci, log, "poststop")
    bundle.spec["hooks"][kind] = [hook("echo no such luck >&2; exit 3"), hook(f"echo later >> {log}")]
    told = oci.fails("create", "--bundle", bundle.write().directory, oci.name(), stdin=subprocess.DEVNULL)
    assert f"hook {kind}[0], /bin/sh: it ended with 3: no such luck" in told
    assert oci.left() == []
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["poststop"]


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_hook_that_fails_ends_start(oci, log, kind):
    bundle = with_hooks(oci, log, "poststop")
    bundle.spec["hooks"][kind] = [hook("echo no such luck >&2; exit 3")]
    name = oci.create(bundle)
    assert f"hook {kind}[0], /bin/sh: it ended with 3: no such luck" in oci.fails("start", name)
    assert oci.status(name) == "stopped"
    oci.ok("delete", name)
    assert [kind for kind, _ in ran(log)] == ["poststop"]


def test_a_failing_hook_poststop_is_warned_of_and_the_next_runs(oci, log):
    bundle = with_hooks(oci, log, "poststop")
    bundle.spec["hooks"]["poststop"].insert(0, hook("exit 3"))
    name = oci.create(bundle)
    done = oci("delete", name)
    assert done.returncode == 0
    assert "warning: hook poststop[0], /bin/sh: it ended with 3" in done.stderr
    assert [kind for kind, _ in ran(log)] == ["poststop"]
    assert oci.left() == []


def test_a_hook_that_is_not_there_is_named(oci):
    bundle = oci.bundle("/bin/true")
    bundle.spec["hooks"] = {"prestart": [{"path": "/nowhere/hook"}]}
    told = oci.fails("create", "--bundle", bundle.write().directory, oci.name(), stdin=subprocess.DEVNULL)
    assert "hook prestart[0], /nowhere/hook: no such file or directory" in told


def test_a_hook_that_hangs_is_killed_with_what_it_has_started(oci, log):
    bundle = oci.bundle("/bin/true")
    script = f"setsid sleep 71 & echo $! >> {log}; sleep 72 & echo $! >> {log}; echo $$ >> {log}; wait"
    bundle.spec["hooks"] = {"createRuntime": [hook(script, timeout=1)]}
    began = time.monotonic()
    told = oci.fails("create", "--bundle", bundle.write().directory, oci.name(), stdin=subprocess.DEVNULL)
    assert "did not end within 1 seconds and was killed" in told
    assert time.monotonic() - began < 10
    pids = log.read_text().split()
    assert len(pids) == 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_hook_without_arguments_is_called_by_its_path(oci, log):
    program = oci.directory / "hook"
    program.write_text(f'#!/bin/sh\necho "$0 $#" >> {log}\n')
    program.chmod(0o755)
    bundle = oci.bundle("/bin/true")
    bundle.spec["hooks"] = {"prestart": [{"path": str(program)}]}
    oci.ok("delete", oci.create(bundle))
    assert log.read_text() == f"{program} 0\n"


def test_a_hook_gets_its_environment_and_no_other(oci, log):
    bundle = oci.bundle("/bin/true")
    bundle.spec["hooks"] = {"prestart": [{"path": "/usr/bin/env", "args": ["env", "sh", "-c", f"env >> {log}"],
                                          "env": ["PATH=/bin:/usr/bin", "WORD=a=b"]}]}  # fmt: skip
    oci.ok("delete", oci.create(bundle))
    assert set(log.read_text().split()) - {"_=/usr/bin/env"} == {
        "PATH=/bin:/usr/bin",
        "WORD=a=b",
        "PWD=" + str(oci.person.home),
    }


@pytest.mark.parametrize("kind", ["prestart", "createContainer", "startContainer", "poststart", "poststop"])
def test_a_hook_inherits_no_descriptor(oci, log, kind):
    """Neither ours nor the caller's, which the container's program gets by --preserve-fds."""
    bundle = with_hooks(oci, log)
    target = "/tmp/log" if kind == "startContainer" else log
    bundle.spec["hooks"] = {kind: [hook(f"cd /proc/self/fd; echo * >> {target}")]}
    name = oci.name()
    argv = oci.argv("create", "--preserve-fds", "3", "--bundle", bundle.write().directory, name)
    shell = ["/bin/sh", "-c", 'exec "$@" 3</dev/null 4</dev/null 5</dev/null', "sh", *argv]
    assert oci.person.run(shell, **NULL, timeout=30).returncode == 0
    oci.ok("start", name)
    oci.ok("delete", "--force", name)
    assert set(log.read_text().split()) <= {"0", "1", "2", "3", "10"}  # the directory, the shell's own


def test_a_hook_that_reads_nothing_and_writes_much_does_not_hang(oci):
    bundle = oci.bundle("/bin/true")
    bundle.spec["annotations"] = {"big": "x" * 300_000}
    bundle.spec["hooks"] = {"prestart": [hook("yes | head -c 1000000; exit 0", timeout=20)]}
    oci.ok("delete", oci.create(bundle))


def test_the_containers_hook_has_its_programs_rights_and_filter(oci, log):
    bundle = with_hooks(oci, log)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    script = "grep -e CapEff -e CapBnd -e Seccomp: -e NoNewPrivs /proc/self/status > /tmp/log"
    bundle.process["args"] = ["/bin/sh", "-c", f"{script}2; sleep 900"]
    for new in (True, False):
        bundle.process["noNewPrivileges"] = new
        bundle.spec["hooks"] = {"startContainer": [hook(script)]}
        name = oci.create(bundle)
        oci.ok("start", name)
        theirs = bundle.rootfs / "tmp/log2"
        deadline = time.monotonic() + 30
        while not theirs.exists() or len(theirs.read_text().splitlines()) < 4:
            assert time.monotonic() < deadline
        assert log.read_text() == theirs.read_text()
        oci.ok("delete", "--force", name)
        theirs.unlink()


def test_the_containers_hook_cannot_be_the_hosts_interpreter(oci, log):
    """CVE-2019-5736: what `#!/proc/self/exe` executes is the sealed stub."""
    bundle = oci.bundle("/bin/sleep", "900")
    (bundle.rootfs / "hook").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "hook").chmod(0o755)
    bundle.spec["hooks"] = {"startContainer": [{"path": "/hook"}]}
    name = oci.create(bundle)
    assert "hook startContainer[0], /hook: it ended with 126" in oci.fails("start", name)
    oci.ok("delete", name)
