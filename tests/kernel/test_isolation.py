"""What a container's process is and may do: asked from inside, as root, in a user namespace, and rootless."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cratebox.linux import caps
from support.bundles import CAPABILITIES, MASKED, READONLY, mount_options

KINDS_OF_NAMESPACE = ("mnt", "pid", "uts", "ipc", "net", "cgroup")


def _status(text: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _own_status(oci, **process: object) -> dict[str, str]:
    bundle = oci.bundle("/bin/cat", "/proc/self/status")
    bundle.process.update(process)
    return _status(oci.output(bundle))


# --- namespaces ------------------------------------------------------------------------------------------------------


def test_every_namespace_is_one_of_its_own(oci):
    names = (*KINDS_OF_NAMESPACE, "user") if oci.kind != "root" else KINDS_OF_NAMESPACE
    inside = oci.script(f"for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done").split()
    ours = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    assert len(set(inside)) == len(names)
    assert not set(inside) & set(ours)


def test_the_program_is_pid_1(oci):
    assert oci.script("echo $$") == "1\n"


def test_no_process_of_the_host_is_seen(oci):
    assert oci.script("ls -d /proc/[0-9]* | wc -l; true") in {"2\n", "3\n"}, "sh, ls and perhaps wc"


def test_the_program_leads_its_own_session(oci):
    fields = oci.output(oci.bundle("/bin/cat", "/proc/self/stat")).split()
    assert fields[4:6] == ["1", "1"], "process group and session"


def test_the_host_name_is_the_specs_and_the_hosts_stays(oci):
    before = os.uname().nodename
    assert oci.script("hostname") == "box\n"
    assert os.uname().nodename == before


def test_a_network_namespace_has_a_loopback_that_is_up_and_nothing_else(oci):
    assert oci.script("ls /sys/class/net; ping -c 1 -W 2 127.0.0.1 > /dev/null && echo up") == "lo\nup\n"


def test_what_is_mounted_is_what_the_spec_says(oci):
    points = set(mount_options(oci.script("cat /proc/self/mountinfo")))
    allowed = {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", *MASKED, *READONLY}
    if oci.kind != "root":
        allowed |= {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    assert {one for one in points if not one.startswith("/sys/fs/cgroup")} <= allowed
    assert {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"} <= points


def test_no_mount_of_a_container_reaches_the_host(oci, word):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    seen = Path("/proc/self/mountinfo").read_text()
    oci.ok("delete", name)
    assert word not in seen


def test_no_mount_propagates_in_either_direction(oci):
    text = oci.script("cat /proc/self/mountinfo")
    assert "shared:" not in text
    assert "master:" not in text


# --- descriptors, limits, who ----------------------------------------------------------------------------------------


def test_only_three_descriptors_are_open(oci):
    assert oci.output(oci.bundle("/bin/ls", "/proc/self/fd")).split() == ["0", "1", "2", "3"], "3 is the directory itself"


def test_descriptors_of_the_caller_do_not_reach_the_program(oci):
    bundle = oci.bundle("/bin/ls", "/proc/self/fd")

    def open_many() -> None:
        for fd in (3, 7, 50, 200):
            os.dup2(0, fd)

    assert oci.output(bundle, close_fds=False, preexec_fn=open_many).split() == ["0", "1", "2", "3"]


def test_a_container_waiting_at_the_gate_shows_its_program_no_more(oci):
    name = oci.create(oci.bundle("/bin/sleep", "900"))
    pid = oci.state(name)["pid"]
    oci.ok("start", name)
    links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    oci.ok("delete", "--force", name)
    assert not [one for one in links if "gate" in one or "report" in one or "socket" in one]


def test_capabilities_are_exactly_those_of_the_spec(oci):
    status = _own_status(oci)
    wanted = f"{caps.mask(CAPABILITIES):016x}"
    assert [status[name] for name in ("CapBnd", "CapPrm", "CapEff")] == [wanted] * 3


def test_no_capability_is_inheritable_or_ambient(oci):
    status = _own_status(oci)
    assert (status["CapInh"], status["CapAmb"]) == ("0" * 16, "0" * 16)


def test_without_capabilities_in_the_spec_there_are_none(oci):
    status = _own_status(oci, capabilities=None)
    assert {status[name] for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}


def test_another_user_has_what_the_spec_gives_him(oci):
    names = list(CAPABILITIES)
    status = _own_status(oci, user={"uid": 1000, "gid": 1000}, capabilities={"bounding": names})
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["1000"] * 4
    assert (status["CapPrm"], status["CapEff"]) == ("0" * 16, "0" * 16)
    assert status["CapBnd"] == f"{caps.mask(CAPABILITIES):016x}"


def test_ambient_capabilities_reach_another_user(oci):
    names = ["CAP_NET_BIND_SERVICE"]
    sets = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), names)
    status = _own_status(oci, user={"uid": 1000, "gid": 1000}, capabilities=sets)
    assert {status[name] for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")} == {f"{1 << 10:016x}"}


def test_no_group_of_the_caller_stays(oci):
    assert _own_status(oci)["Groups"] == ""
    assert oci.output(oci.bundle("/bin/id", "-G")) == "0\n"


def test_groups_are_those_of_the_spec(oci):
    bundle = oci.bundle("/bin/id", "-G")
    bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [4, 27]}
    assert oci.output(bundle) == "1000 4 27\n"


def test_a_user_who_is_not_mapped_is_an_error(oci):
    if oci.kind == "root":
        pytest.skip("without a user namespace every ID exists")
    bundle = oci.bundle("/bin/true")
    bundle.process["user"] = {"uid": 70000, "gid": 0}
    bundle.write()
    assert "cannot become user 70000:0" in oci.fails("run", "--bundle", bundle.directory, oci.name())


def test_the_umask_is_0022_or_the_specs(oci):
    assert oci.script("umask", preexec_fn=lambda: os.umask(0)) == "0022\n"
    bundle = oci.bundle(script="umask")
    bundle.process["user"]["umask"] = 0o077
    assert oci.output(bundle) == "0077\n"


def test_limits_are_those_of_the_spec(oci):
    bundle = oci.bundle(script="ulimit -Sn; ulimit -Hn; ulimit -Hc")
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    assert oci.output(bundle) == "100\n200\n0\n"


def test_an_unknown_limit_is_an_error(root_oci):
    bundle = root_oci.bundle("/bin/true")
    bundle.process["rlimits"] = [{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]
    bundle.write()
    assert "RLIMIT_NONE" in root_oci.fails("run", "--bundle", bundle.directory, root_oci.name())


def test_signals_are_as_a_program_expects_them(oci):
    """SIGPIPE is not ignored, none is blocked: Python changes both for itself."""
    status = _own_status(oci)
    assert int(status["SigIgn"], 16) == 0
    assert int(status["SigBlk"], 16) == 0


def test_no_new_privileges_is_set_only_by_the_spec(oci):
    assert _own_status(oci)["NoNewPrivs"] == "0"
    assert _own_status(oci, noNewPrivileges=True)["NoNewPrivs"] == "1"


def test_the_oom_score_is_the_specs(oci):
    bundle = oci.bundle("/bin/cat", "/proc/self/oom_score_adj")
    bundle.process["oomScoreAdj"] = 500
    assert oci.output(bundle) == "500\n"


def test_the_environment_is_the_specs_and_home(oci):
    bundle = oci.bundle("/bin/env")
    bundle.process["env"] = ["PATH=/bin", "A=b=c", "EMPTY="]
    assert sorted(oci.output(bundle).splitlines()) == ["A=b=c", "EMPTY=", "HOME=/root", "PATH=/bin"]
    bundle.process["env"] = ["HOME=/here"]
    assert oci.output(bundle) == "HOME=/here\n"


def test_home_is_that_of_the_containers_passwd(oci):
    bundle = oci.bundle("/bin/env")
    bundle.process["env"] = []
    (bundle.rootfs / "etc").mkdir(exist_ok=True)
    (bundle.rootfs / "etc/passwd").write_text("root:x:0:0::/of/root:/bin/sh\n")
    assert oci.output(bundle) == "HOME=/of/root\n"


def test_a_passwd_that_is_a_fifo_holds_nobody_up(oci):
    bundle = oci.bundle("/bin/env")
    bundle.process["env"] = []
    (bundle.rootfs / "etc").mkdir(exist_ok=True)
    (bundle.rootfs / "etc/passwd").unlink(missing_ok=True)
    os.mkfifo(bundle.rootfs / "etc/passwd")
    assert oci.output(bundle) == "HOME=/\n"


# --- the filter of system calls --------------------------------------------------------------------------------------


def _no_mkdir() -> dict[str, object]:
    refused = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [refused],
    }


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_a_filter_refuses_what_it_names(oci, no_new_privileges):
    bundle = oci.bundle(script="mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status")
    bundle.linux["seccomp"] = _no_mkdir()
    bundle.process["noNewPrivileges"] = no_new_privileges
    printed = oci.output(bundle)
    assert "Not supported" in printed or "not supported" in printed
    assert printed.splitlines()[-1].split() == ["Seccomp:", "2"]


def _with_python(oci, program: str):
    """A bundle that runs `program` in the host's Python, whose /usr is bound in read-only."""
    python = os.path.realpath("/usr/bin/python3")
    if not os.path.exists(python) or not os.path.islink("/lib"):
        pytest.skip("needs /usr/bin/python3 and a merged /usr")
    bundle = oci.bundle(python, "-I", "-S", "-c", program)
    for name in ("lib", "lib64"):
        if os.path.islink(f"/{name}"):
            (bundle.rootfs / name).symlink_to(f"usr/{name}")
    shutil.rmtree(bundle.rootfs / "usr")
    (bundle.rootfs / "usr").mkdir()
    return bundle.mount("/usr", "/usr", "rbind", "rro", "nosuid")


_TRY = """
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
found = {}
for name, args in CALLS.items():
    ctypes.set_errno(0)
    found[name] = errno.errorcode.get(ctypes.get_errno(), "?") if libc.syscall(*map(ctypes.c_long, args)) < 0 else "allowed"
print(json.dumps(found))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of system calls of x86-64")
@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_the_default_filter_refuses_calls_that_nobody_needs(oci, no_new_privileges):
    from cratebox import document
    from cratebox.runtime import seccomp

    calls = {"keyctl": (250, 0, 0), "io_uring_setup": (425, 1, 0), "userfaultfd": (323, 0), "bpf": (321, 0, 0, 0),
             "AF_ALG": (41, 38, 5, 0),
             "unshare(NEWUSER)": (272, 0x10000000), "mount": (165, 0, 0, 0, 0, 0), "perf_event_open": (298, 0, 0, 0, 0, 0),
             "setns": (308, 0, 0), "open_by_handle_at": (304, 0, 0, 0), "kexec_load": (246, 0, 0, 0, 0),
             "add_key": (248, 0, 0, 0, 0, 0)}  # fmt: skip
    bundle = _with_python(oci, f"CALLS = {calls!r}\n{_TRY}")
    bundle.linux["seccomp"] = document.encode(seccomp.default_profile(frozenset(CAPABILITIES)))
    bundle.process["noNewPrivileges"] = no_new_privileges
    found = json.loads(oci.output(bundle))
    assert {name: how for name, how in found.items() if how not in {"EPERM", "ENOSYS", "EAFNOSUPPORT"}} == {}
