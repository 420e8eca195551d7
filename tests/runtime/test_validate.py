"""What a spec must be: refused whole before anything exists, by the name of the property, and never by an accident."""

from __future__ import annotations

import copy
import json
import os

import pytest

from cratebox.errors import CrateError, InvalidValue, Unsupported
from cratebox.runtime import spec, validate
from support import bundles

RULE = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
# (where in the document, the value, what the error must name)
WRONG = [
    ("linux.rootfsPropagation", "junk", "rootfsPropagation 'junk'"),
    ("mounts.0.options", ["idmap"], r"mounts\[0\] is to have its IDs mapped"),
    ("mounts.0.options", ["tmpcopyup"], r"mounts\[0\].options has tmpcopyup"),
    ("mounts.0.options", ["iversion"], r"mounts\[0\].options has iversion"),
    ("mounts.0.options", ["remount", "hidepid=2"], r"mounts\[0\].options has remount with 'hidepid=2'"),
    ("mounts.0.destination", "", r"mounts\[0\].destination is empty"),
    (
        "mounts.0",
        {"destination": "/x", "type": "bind", "source": "/", "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]},
        r"mounts\[0\] has only one of uidMappings and gidMappings",
    ),
    (
        "mounts.0",
        {"destination": "/x", "type": "bind", "source": "/", "uidMappings": [{"containerID": 0, "hostID": 0, "size": 0}]},
        r"mounts\[0\].uidMappings has 0 0 0",
    ),
    (
        "mounts.0",
        {"destination": "/x", "type": "bind", "source": "/", "options": ["size=1"]},
        r"mounts\[0\].options has 'size=1'",
    ),
    ("mounts.0", {"destination": "/x", "type": "bind"}, r"mounts\[0\].source is missing"),
    ("mounts.0", {"destination": "/x", "source": "x"}, r"mounts\[0\].type is missing"),
    ("mounts.0.destination", "/\ud800", r"mounts\[0\].destination"),
    ("process.rlimits", [{"type": "RLIMIT_JUNK", "soft": 1, "hard": 1}], "process.rlimits has 'RLIMIT_JUNK'"),
    (
        "process.rlimits",
        [{"type": "RLIMIT_CPU", "soft": 1, "hard": 2**63}],
        "process.rlimits RLIMIT_CPU: hard 9223372036854775808",
    ),
    ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": -1, "hard": 1}], "process.rlimits RLIMIT_CPU: soft -1"),
    ("process.oomScoreAdj", 1001, "process.oomScoreAdj 1001"),
    ("process.user", {"uid": 0, "gid": 0, "umask": 0o1000}, "process.user.umask 512"),
    ("process.consoleSize", {"height": 70000, "width": 1}, "process.consoleSize.height 70000"),
    ("hostname", "a" * 65, "hostname 'a"),
    ("hostname", "\udfff\ud800", "hostname"),
    ("linux.devices", [{"path": "/dev/x", "type": "q", "major": 1, "minor": 1}], r"linux.devices\[0\].type 'q'"),
    ("linux.devices", [{"path": "dev/x", "type": "c"}], r"linux.devices\[0\].path 'dev/x' is not absolute"),
    ("linux.devices", [{"path": "/dev/", "type": "c"}], r"linux.devices\[0\].path '/dev/'"),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": 2**40, "minor": 0}], r"linux.devices\[0\].major"),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "fileMode": -1}], r"linux.devices\[0\].fileMode"),
    ("linux.maskedPaths", ["proc/x"], r"linux.maskedPaths\[0\] 'proc/x'"),
    ("linux.readonlyPaths", [""], r"linux.readonlyPaths\[0\] ''"),
    ("linux.sysctl", {"net.x": "\ud800"}, "linux.sysctl"),
    ("linux.cgroupsPath", "a/../b", r"not a path of a cgroup: 'a/../b'"),
    ("linux.seccomp", {"defaultAction": "junk"}, "seccomp.defaultAction: 'junk'"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": "x"}]}, r"seccomp.syscalls\[0\].names"),
    (
        "linux.seccomp",
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 1, "op": []}]}],
        },
        r"seccomp.syscalls\[0\].args\[0\].op",
    ),
    ("linux.resources", {"devices": ["x"]}, r"resources.devices\[0\] must be an object, not 'x'"),
    ("linux.resources", {"devices": {"x": 1}}, "resources.devices must be a list"),
    ("linux.resources", {"devices": [RULE | {"type": ["c"]}]}, r"resources.devices\[0\].type must be a string"),
    (
        "linux.resources",
        {"devices": [RULE | {"major": "1"}]},
        r"resources.devices\[0\].major must be an integer of 64 bits, not '1'",
    ),
    ("linux.resources", {"memory": []}, "resources.memory must be an object"),
    ("linux.resources", {"memory": {"limit": "1"}}, "resources.memory.limit must be an integer of 64 bits, not '1'"),
    ("linux.resources", {"memory": {"disableOOMKiller": "no"}}, "resources.memory.disableOOMKiller must be true or false"),
    ("linux.resources", {"cpu": {"cpus": 3}}, "resources.cpu.cpus must be a string"),
    ("linux.resources", {"pids": 7}, "resources.pids must be an object"),
    ("linux.resources", {"unified": {"../x": "1"}}, "resources.unified: '../x'"),
    ("linux.resources", {"rdma": {"mlx": {}, "x": 1}}, "resources.rdma"),
]


def changed(where: str, value: object) -> dict:
    document = copy.deepcopy(bundles.spec("/bin/true"))
    here = document
    *parents, last = where.split(".")
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
    here[int(last) if isinstance(here, list) else last] = value
    return document


def test_the_tests_own_spec_is_one():
    validate.validate(spec.decode(bundles.spec("/bin/true")))


@pytest.mark.parametrize(("where", "value", "named"), WRONG)
def test_a_wrong_property_is_named(where, value, named):
    with pytest.raises((InvalidValue, Unsupported), match=named) as told:
        validate.validate(spec.decode(changed(where, value)))
    assert told.value.message.startswith("spec: ")
    assert "\n" not in told.value.message


@pytest.mark.parametrize(("where", "value", "named"), WRONG[:1] + WRONG[1::6])
def test_nothing_exists_of_what_is_refused(root_oci, where, value, named):
    bundle = root_oci.bundle("/bin/true")
    (bundle.directory / "config.json").write_text(json.dumps(changed(where, value)))
    root_oci.fails("create", "--bundle", bundle.directory, root_oci.name())
    assert not root_oci.root.exists()


ODD = [None, True, 0, -1, 2**63, 1.5, "", "x", "\ud800", "/", [], ["x"], [[]], [None], {}, {"x": 1}, [{}], [{"x": "y"}]]
FULL = {
    "domainname": "x",
    "annotations": {"a": "b"},
    "hooks": {"prestart": [{"path": "/x", "args": ["x"], "env": ["A=b"], "timeout": 1}], "poststop": []},
    "process": {
        "terminal": False,
        "consoleSize": {"height": 1, "width": 1},
        "rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}],
        "noNewPrivileges": True,
        "oomScoreAdj": 1,
        "apparmorProfile": "x",
        "selinuxLabel": "x",
        "scheduler": {"policy": "SCHED_OTHER", "nice": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
        "execCPUAffinity": {"initial": "0", "final": "0-1"},
    },
    "linux": {
        "cgroupsPath": "/x",
        "rootfsPropagation": "slave",
        "sysctl": {"kernel.shmmax": "1"},
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 0, "gid": 0}],
        "namespaces": [{"type": kind} for kind in ("pid", "mount", "uts", "ipc", "cgroup", "network", "user")],
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 1, "size": 1}],
        "personality": {"domain": "LINUX", "flags": []},
        "netDevices": {"eth7": {"name": "eth%d"}},
        "intelRdt": {"closID": "x", "schemata": ["L3:0=f"], "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=1"},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}],
                },
                {"names": ["sync"], "action": "SCMP_ACT_NOTIFY"},
            ],
            "listenerPath": "/x",
            "listenerMetadata": "x",
        },
        "resources": {
            "devices": [RULE],
            "memory": {"limit": 1, "swap": 2, "reservation": 1, "swappiness": 1, "disableOOMKiller": False},
            "cpu": {"shares": 1, "quota": 1, "period": 1, "burst": 0, "idle": 0, "cpus": "0", "mems": "0"},
            "pids": {"limit": 1},
            "unified": {},
            "blockIO": {},
            "hugepageLimits": [],
            "network": {},
        },
    },
}


def _places(document: object, path: tuple = ()) -> list[tuple]:
    found = [path] if path else []
    children = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, value in children:
        found += _places(value, (*path, key))
    return found


def test_no_value_of_whatever_kind_is_more_than_an_error():
    """Each property in turn becomes each of the odd values: it is taken or refused, and nothing else happens."""
    whole = bundles.spec("/bin/true")
    for part, fields in FULL.items():
        whole[part] = whole[part] | fields if isinstance(fields, dict) and part in whole else fields
    validate.validate(spec.decode(whole))
    for path in _places(whole):
        for odd in ODD:
            document = copy.deepcopy(whole)
            here = document
            for key in path[:-1]:
                here = here[key]
            here[path[-1]] = odd
            _taken_or_refused(document, f"{path} = {odd!r}")


def _taken_or_refused(document: dict, what: str) -> None:
    try:
        validate.validate(spec.decode(document))
    except CrateError:
        pass
    except Exception as error:
        pytest.fail(f"{what}: {type(error).__name__}: {error}")


def test_a_profile_that_cannot_be_compiled_leaves_nothing(root_oci):
    bundle = root_oci.bundle("/bin/true")
    # By its own rules each is right; libseccomp finds that they contradict each other.
    argument = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
    rules = [{"names": ["getpid"], "action": f"SCMP_ACT_{name}", "args": [argument]} for name in ("KILL", "LOG")]
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    assert "contradict each other" in root_oci.fails("create", "--bundle", bundle.write().directory, root_oci.name())
    assert root_oci.left() == []


def test_a_relative_source_is_below_the_bundle(oci):
    bundle = oci.bundle("/bin/cat", "/mnt/file").mount("/mnt", "data")
    (bundle.directory / "data").mkdir()
    (bundle.directory / "data/file").write_text("of the bundle")
    oci.give(bundle.directory)
    assert oci.output(bundle) == "of the bundle"


# --- linux.rootfsPropagation ------------------------------------------------------------------------------------------


def _optional(line: str) -> str:
    """Return the names of the optional fields of a line of mountinfo: "shared,master"."""
    fields = line.split()
    return ",".join(one.partition(":")[0] for one in fields[6 : fields.index("-")])


@pytest.mark.parametrize(
    ("propagation", "of_root", "of_proc"),
    [
        ("", "", ""),
        ("private", "", ""),
        ("rprivate", "", ""),
        ("slave", "", ""),
        ("rslave", "", ""),
        ("shared", "shared", ""),
        ("rshared", "shared", "shared"),
        ("unbindable", "unbindable", ""),
        ("runbindable", "unbindable", "unbindable"),
    ],
)
def test_the_root_has_the_propagation_of_the_spec(oci, propagation, of_root, of_proc):
    bundle = oci.bundle("/bin/cat", "/proc/self/mountinfo")
    bundle.linux["rootfsPropagation"] = propagation
    lines = {line.split()[4]: _optional(line) for line in oci.output(bundle).splitlines()}
    assert (lines["/"].removesuffix(",master"), lines["/proc"]) == (of_root, of_proc)


@pytest.mark.parametrize(
    ("propagation", "of_root"),
    [("private", ""), ("slave", "master"), ("rslave", "master"), ("shared", "shared,master"), ("unbindable", "unbindable")],
)
def test_a_root_that_the_host_shares_is_followed_and_never_joined(root_oci, propagation, of_root):
    """In a mount namespace between, where the bundle's root is a shared mount."""
    bundle = root_oci.bundle("/bin/cat", "/proc/self/mountinfo")
    bundle.linux["rootfsPropagation"] = propagation
    bundle.write()
    run = " ".join(root_oci.argv("run", "--bundle", bundle.directory, root_oci.name()))
    script = f"mount --bind {bundle.rootfs} {bundle.rootfs} && mount --make-shared {bundle.rootfs} && {run}"
    script += f" && grep -c {bundle.rootfs} /proc/self/mountinfo"
    done = root_oci.person.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script])
    assert done.returncode == 0, done.stderr
    *inside, count = done.stdout.splitlines()
    (root,) = [line for line in inside if line.split()[4] == "/"]
    assert _optional(root) == of_root
    assert count == "1", "nothing of the container's reached the namespace it came from"


# --- the last resort --------------------------------------------------------------------------------------------------


def test_an_error_that_nobody_thought_of_is_one_line_in_the_log(tmp_path, monkeypatch, capsys):
    from cratebox.cli.oci import main, state

    monkeypatch.delenv("CRATE_DEBUG", raising=False)

    def broken(_words, _who):
        raise AttributeError("no such\nthing")

    monkeypatch.setattr(state, "main", broken)
    log = tmp_path / "log.json"
    assert main.main(["--log", str(log), "--log-format", "json", "state", "box"]) == 1
    (entry,) = map(json.loads, log.read_text().splitlines())
    assert (entry["level"], entry["msg"]) == ("error", "internal error: AttributeError: no such\nthing")
    assert "Traceback" not in capsys.readouterr().err
    assert "CRATE_DEBUG" not in os.environ
