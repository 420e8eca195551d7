"""What crate-oci says and ends with, before a runtime that is a fake."""

from __future__ import annotations

import io
import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

from cratebox import document, errors
from cratebox.cgroup import model
from cratebox.cli.oci.main import VERBS as VERBS_OF_OCI
from cratebox.cli.oci.main import main
from cratebox.errors import Unsupported
from cratebox.linux import userns
from cratebox.runtime import mount_options, spec, validate
from cratebox.runtime.criu import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

STATE = {"ociVersion": "1.2.0", "id": "box", "status": "running", "pid": 7, "bundle": "/b", "annotations": {}}


class Lifecycle(types.ModuleType):
    """Answers from `answers`, by function; an exception there is raised. Writes down its calls."""

    def __init__(self) -> None:
        super().__init__("cratebox.runtime.lifecycle")
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {"state": STATE, "run": 7, "list_containers": [STATE]}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **named: Any) -> Any:
            self.calls.append((name, *args, named))
            if isinstance(self.answers.get(name), BaseException):
                raise self.answers[name]
            return self.answers.get(name)

        return call


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lifecycle]:
    import cratebox.runtime

    fake = Lifecycle()
    monkeypatch.setitem(sys.modules, "cratebox.runtime.lifecycle", fake)
    monkeypatch.setattr(cratebox.runtime, "lifecycle", fake, raising=False)
    monkeypatch.delenv("CRATE_DEBUG", raising=False)
    yield fake
    os.environ.pop("CRATE_DEBUG", None)


def test_create_hands_everything_over(runtime: Lifecycle) -> None:
    argv = [
        "--root",
        "/r",
        "create",
        "--bundle",
        "/b",
        "--pid-file",
        "p",
        "--console-socket=/s",
        "--preserve-fds",
        "2",
        "--no-pivot",
        "box",
    ]
    assert main(argv) == 0
    settings = {"pid_file": "p", "console_socket": "/s", "preserve_fds": 2, "no_pivot": True, "no_new_keyring": False}
    assert runtime.calls == [("create", "/r", "box", "/b", settings)]


def test_the_working_directory_is_the_bundle_where_none_is_named(runtime: Lifecycle) -> None:
    main(["--root", "/r", "create", "box"])
    assert runtime.calls[0][3] == str(pathlib.Path.cwd())


def test_run_ends_with_the_code_of_the_process(runtime: Lifecycle) -> None:
    assert main(["--root", "/r", "run", "-b", "/b", "-d", "box"]) == 7
    assert runtime.calls[0][-1]["detach"] is True


@pytest.mark.parametrize(("words", "number"), [([], 15), (["9"], 9), (["SIGHUP"], 1), (["usr1"], 10)])
def test_kill_takes_numbers_and_names(words: list[str], number: int, runtime: Lifecycle) -> None:
    assert main(["--root", "/r", "kill", "--all", "box", *words]) == 0
    assert runtime.calls == [("kill", "/r", "box", number, {"all": True})]


def test_kill_refuses_what_is_no_signal(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kill", "box", "NOPE"]) == 1
    assert capsys.readouterr().err.startswith("crate-oci kill: no such signal: NOPE\n")


def test_run_passes_what_only_some_runtimes_have(runtime: Lifecycle) -> None:
    main(
        [
            "--root",
            "/r",
            "--rootless=true",
            "--systemd-cgroup",
            "run",
            "--keep",
            "-f",
            "/c.json",
            "--pidfd-socket",
            "/p",
            "--no-subreaper",
            "box",
        ]
    )
    more = {"keep": True, "config": "/c.json", "pidfd_socket": "/p", "rootless": True, "cgroup_manager": "systemd"}
    assert runtime.calls[0][-1].items() >= more.items()


def test_kill_by_regular_expression_goes_to_all_that_match_as_a_whole(runtime: Lifecycle) -> None:
    runtime.answers["list_containers"] = [{"id": name} for name in ("box", "box2", "ox")]
    runtime.answers["kill"] = errors.Conflict("container not running")
    assert main(["--root", "/r", "kill", "--regex", "b?ox", "KILL"]) == 1
    assert [call[2] for call in runtime.calls if call[0] == "kill"] == ["box", "ox"]


def test_delete_by_regular_expression(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    runtime.answers["list_containers"] = [{"id": name} for name in ("box", "box2", "ox")]
    assert main(["--root", "/r", "delete", "--force", "--regex", "box.*"]) == 0
    assert [call[2:] for call in runtime.calls if call[0] == "delete"] == [("box", {"force": True}), ("box2", {"force": True})]
    assert main(["delete", "--regex", "("]) == 1
    assert capsys.readouterr().err.startswith("crate-oci delete: '(' is no regular expression: ")


OWN = spec.Process(
    cwd="/here", args=("init",), env=("A=1",), terminal=True, user=spec.User(uid=5, gid=6), no_new_privileges=True
)


def executed(runtime: Lifecycle, *words: str) -> tuple[spec.Process, dict[str, Any]]:
    """Return the process and the settings that `exec` with these words asks for."""
    runtime.answers |= {"own_process": OWN, "execute": 9}
    assert main(["--root", "/r", "exec", *words]) == 9
    name, root, container, process, settings = runtime.calls[-1]
    assert (name, root, container) == ("execute", "/r", "box")
    return process, settings


def test_exec_is_the_containers_own_process_with_another_command(runtime: Lifecycle) -> None:
    process, settings = executed(runtime, "box", "--", "ls", "-l")
    assert process == OWN.replace(args=("ls", "-l"), terminal=False, capabilities=None)
    assert (settings["tty"], settings["detach"], settings["cgroup"]) == (False, False, {})


def test_execs_flags_change_the_process(runtime: Lifecycle) -> None:
    words = [
        "-t",
        "-d",
        "-e",
        "B=2",
        "-u",
        "1000:50",
        "-g",
        "7",
        "-g",
        "8",
        "--cap",
        "CAP_KILL",
        "--cwd",
        "/x",
        "--no-new-privs=false",
    ]
    process, settings = executed(runtime, *words, "--apparmor", "p", "--process-label", "l", "--cgroup", "c", "box", "sh")
    assert process.env == ("A=1", "B=2")
    assert process.user == spec.User(uid=1000, gid=50, additional_gids=(7, 8))
    assert process.capabilities == spec.Capabilities(*[("CAP_KILL",)] * 2, permitted=("CAP_KILL",))
    assert (process.cwd, process.no_new_privileges, process.apparmor_profile, process.selinux_label) == ("/x", False, "p", "l")
    assert (settings["tty"], settings["detach"], settings["cgroup"]) == (True, True, {"": "c"})


def test_a_user_without_a_group_keeps_the_containers(runtime: Lifecycle) -> None:
    assert executed(runtime, "-u", "9", "box", "sh")[0].user == spec.User(uid=9, gid=6)


def test_exec_reads_a_process(runtime: Lifecycle, tmp_path: pathlib.Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"cwd": "/", "args": ["a"], "user": {"uid": 3}}))
    words = ["--process", str(tmp_path / "p.json"), "--tty", "--detach", "--pid-file", "pid", "--console-socket", "s", "box"]
    process, settings = executed(runtime, *words)
    assert (process.args, process.user.uid, settings["tty"]) == (("a",), 3, True)
    assert (settings["pid_file"], settings["console_socket"]) == ("pid", "s")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["box"], "a COMMAND is missing"),
        (["-u", "root", "box", "a"], "--user is a whole number of at least 0, not root"),
        (["-u", "4294967295", "box", "a"], "--user 4294967295 is no ID"),
        (["--process", "/nope", "box"], "cannot read /nope: no such file or directory"),
        (["--process", "/nope", "-e", "A=1", "box"], "--process says all about the process: --env cannot be added"),
        (["--process", "/nope", "box", "ls"], "--process says all about the process: ls cannot be added"),
        (["--cgroup", ",cpu:x", "box", "ls"], "--cgroup ,cpu:x: a controller is missing"),
    ],
)
def test_a_wrong_exec_ends_with_255(
    words: list[str], message: str, runtime: Lifecycle, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.answers["own_process"] = OWN
    assert main(["exec", *words]) == 255
    assert capsys.readouterr().err.startswith(f"crate-oci exec: {message}")


def test_pause_and_resume(runtime: Lifecycle) -> None:
    assert (main(["--root", "/r", "pause", "box"]), main(["--root", "/r", "resume", "box"])) == (0, 0)
    assert [call[:3] for call in runtime.calls] == [("pause", "/r", "box"), ("resume", "/r", "box")]


def test_update_makes_resources_of_its_flags(runtime: Lifecycle) -> None:
    words = ["--memory", "1.5k", "--memory-swap", "-1", "--memory-reservation", "50", "--cpu-share", "512", "--cpu-quota=-1"]
    words += ["--cpu-period", "10", "--cpu-burst", "3", "--cpu-rt-period", "4", "--cpu-rt-runtime", "2", "--cpu-idle", "1"]
    words += ["--cpuset-cpus", "0-1", "--cpuset-mems", "0", "--pids-limit", "9", "--blkio-weight", "300"]
    assert main(["--root", "/r", "update", *words, "box"]) == 0
    cpu = {"period": 10, "quota": -1, "burst": 3, "shares": 512, "realtimePeriod": 4, "realtimeRuntime": 2, "idle": 1}
    wanted = {
        "memory": {"limit": 1536, "reservation": 50, "swap": -1},
        "cpu": cpu | {"cpus": "0-1", "mems": "0"},
        "pids": {"limit": 9},
        "blockIO": {"weight": 300},
    }
    assert runtime.calls == [("update", "/r", "box", wanted, {})]
    assert document.encode(model.decode(wanted)) == wanted


def test_update_reads_a_file_and_standard_input(
    runtime: Lifecycle, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.json").write_text('{"pids":{"limit":1}}')
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"pids":{"limit":2}}')))
    for path in (str(tmp_path / "r.json"), "-"):
        assert main(["update", "--memory", "5", "-r", path, "box"]) == 0
    assert [call[3] for call in runtime.calls] == [{"pids": {"limit": 1}}, {"pids": {"limit": 2}}]
    (tmp_path / "r.json").write_text("{")
    assert main(["update", "-r", str(tmp_path / "r.json"), "box"]) == 1
    assert f"{tmp_path}/r.json: " in capsys.readouterr().err


def test_events_are_a_line_of_json_each(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    runtime.answers |= {"stats": {"pids": {"current": 1}}, "watch_events": [{"type": "oom", "id": "box"}]}
    assert main(["--root", "/r", "events", "--stats", "box"]) == 0
    assert main(["--root", "/r", "events", "--interval", "1m30s", "box"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [{"type": "stats", "id": "box", "data": {"pids": {"current": 1}}}, {"type": "oom", "id": "box"}]
    assert runtime.calls[-1] == ("watch_events", "/r", "box", 90.0, {})


@pytest.mark.parametrize("interval", ["5", "0s", "s", "-1s", "1.5.5s", "1y", ""])
def test_an_interval_that_is_none_is_refused(interval: str, runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", f"--interval={interval}", "box"]) == 1
    assert capsys.readouterr().err.startswith("crate-oci events: --interval ")


def test_ps_is_the_machines_and_told_of_the_containers_processes(
    runtime: Lifecycle, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "#!/bin/sh\nprintf 'USER PID CMD\\nroot 7 init\\nroot 77 other\\nroot 8 7\\n'; echo \"args $*\" >&2\n"
    (tmp_path / "ps").write_text(script)
    (tmp_path / "ps").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    runtime.answers["processes"] = [7, 8]
    assert main(["ps", "box", "-o", "user,pid,cmd"]) == 0
    assert capsys.readouterr().out == "USER PID CMD\nroot 7 init\nroot 8 7\n"
    assert main(["ps", "--format", "json", "box"]) == 0
    assert capsys.readouterr().out == "[7,8]\n"
    (tmp_path / "ps").write_text("#!/bin/sh\necho CMD\n")
    assert main(["ps", "box"]) == 1
    assert capsys.readouterr().err.startswith("crate-oci ps: ps prints no column PID with these options")
    (tmp_path / "ps").write_text("#!/bin/sh\necho bad option >&2; exit 2\n")
    assert main(["ps", "box"]) == 1
    assert capsys.readouterr().err == f"crate-oci ps: {tmp_path}/ps ended with 2: bad option\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="checkpoint and restore are root's")
def test_criu_that_is_missing_or_does_not_work_is_told_in_its_own_words(tmp_path: pathlib.Path) -> None:
    criu = tmp_path / "criu"
    with pytest.raises(Unsupported, match="which is not installed"):
        find(str(criu))
    for script, message in (("echo no kernel >&2; exit 1", "no kernel"), ("exit 1", "ended with 1")):
        criu.write_text(f"#!/bin/sh\n{script}\n")
        criu.chmod(0o755)
        with pytest.raises(Unsupported, match=message):
            find(str(criu))
    criu.write_text("#!/bin/sh\n")
    assert find(str(criu)) == str(criu)


def test_state_is_json(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "box"]) == 0
    assert json.loads(capsys.readouterr().out) == STATE


def test_list_is_a_table_or_json_or_ids(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    assert capsys.readouterr().out.splitlines()[1].split() == ["box", "7", "running", "/b"]
    main(["list", "-f", "json"])
    assert json.loads(capsys.readouterr().out) == [STATE]
    main(["list", "-q"])
    assert capsys.readouterr().out == "box\n"


def test_delete_by_force_of_what_is_not_there_is_no_error(runtime: Lifecycle) -> None:
    runtime.answers["delete"] = errors.NotFound("container does not exist")
    assert (main(["delete", "--force", "box"]), main(["delete", "box"])) == (0, 1)


def test_an_error_is_one_json_line_in_the_log(
    runtime: Lifecycle, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime.answers["start"] = errors.NotFound('box: "container" does not exist\n\x1b')
    log = tmp_path / "log.json"
    assert main(["--root", "/r", "--log", str(log), "--log-format", "json", "start", "box"]) == 1
    (entry,) = map(json.loads, log.read_text().splitlines())
    assert (entry["level"], entry["msg"]) == ("error", 'box: "container" does not exist\n\x1b')
    assert sorted(entry) == ["level", "msg", "time"]
    assert capsys.readouterr().err == 'crate-oci start: box: "container" does not exist\\n\\x1b\n'


def test_an_error_is_one_text_line_in_the_log(runtime: Lifecycle, tmp_path: pathlib.Path) -> None:
    runtime.answers["start"] = errors.Conflict("a\nb")
    main(["--log", str(tmp_path / "log"), "start", "box"])
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.endswith('level=error msg="a\\nb"')


def test_success_leaves_the_log_alone(runtime: Lifecycle, tmp_path: pathlib.Path) -> None:
    main(["--log", str(tmp_path / "log"), "start", "box"])
    assert not (tmp_path / "log").exists()


def test_a_wrong_flag_after_the_log_flags_is_logged(runtime: Lifecycle, tmp_path: pathlib.Path) -> None:
    assert main(["--log", str(tmp_path / "log"), "--log-format=json", "create", "--nope", "box"]) == 1
    assert json.loads((tmp_path / "log").read_text())["msg"] == "unknown flag --nope"


def test_a_log_that_cannot_be_written_hides_no_error(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    runtime.answers["start"] = errors.NotFound("gone")
    assert main(["--log", "/nope/log", "start", "box"]) == 1
    assert (
        capsys.readouterr().err
        == "crate-oci start: gone\ncrate-oci: cannot write the log /nope/log: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--systemd-cgroup", "--cgroup-manager=disabled", "start", "box"], "crate-oci: --systemd-cgroup and --cgroup-manager"),
        (["--cgroup-manager", "mine", "start", "box"], "crate-oci: --cgroup-manager cannot be mine\n"),
        (["--rootless", "perhaps", "start", "box"], "crate-oci: --rootless cannot be perhaps\n"),
        (["nope"], "crate-oci: no such command: nope\n"),
        (["start"], "crate-oci start: a CONTAINER-ID is missing\n"),
        (["state", "a", "b"], "crate-oci state: takes at most 1 argument, not 2\n"),
        (["create", "--preserve-fds", "x", "a"], "crate-oci create: --preserve-fds is a whole number of at least 0, not x\n"),
        (["list", "--format", "xml"], "crate-oci list: --format cannot be xml\n"),
    ],
)
def test_what_the_runtime_does_not_do_is_refused(
    argv: list[str], message: str, runtime: Lifecycle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (main(argv), capsys.readouterr().err.startswith(message), runtime.calls) == (1, True, [])


def test_without_a_file_the_json_goes_to_standard_error(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    runtime.answers["start"] = errors.NotFound("gone", "a hint")
    assert main(["--log-format", "json", "start", "box"]) == 1
    assert json.loads(capsys.readouterr().err)["msg"] == "gone"


def test_a_log_that_is_standard_error_says_it_once(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    runtime.answers["start"] = errors.NotFound("gone")
    main(["--log", "/dev/stderr", "start", "box"])
    assert capsys.readouterr().err.count("gone") == 1


def test_the_bundle_of_a_directory_that_is_gone_is_a_clear_error(
    runtime: Lifecycle, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["--root", "/r", "create", "box"]) == 1
    assert capsys.readouterr().err.startswith("crate-oci create: --bundle .: the working directory is gone\n")
    assert main(["state", "box"]) == 0


def test_a_failing_system_call_is_one_line(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    runtime.answers["start"] = PermissionError(13, "mount(proc): Permission denied")
    assert main(["start", "box"]) == 1
    assert capsys.readouterr().err == "crate-oci start: mount(proc): Permission denied\n"


def test_the_version_is_in_runcs_form(runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("crate-oci version ")
    assert second.startswith("spec: 1.")


def test_the_default_place_depends_on_the_user_alone(runtime: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRATE_STATE", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    main(["start", "box"])
    assert runtime.calls[0][1] == "/run/crate-oci"


def test_root_of_somebodys_user_namespace_keeps_state_where_that_user_does(
    runtime: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRATE_STATE", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(userns, "is_first", lambda: False)
    main(["start", "box"])
    assert runtime.calls[0][1] == "/run/user/1000/crate-oci"


@pytest.mark.parametrize("rootless", [False, True])
def test_the_spec_to_begin_with_is_valid_and_never_replaced(
    rootless: bool, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["spec", "--bundle", str(tmp_path), *(["--rootless"] if rootless else [])]
    assert main(words) == 0
    validate.validate(spec.decode(json.loads((tmp_path / "config.json").read_text())))
    assert main(words) == 1
    assert "is there already" in capsys.readouterr().err


def test_features_are_what_a_spec_may_say(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["features"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ociVersionMin"], told["ociVersionMax"]) == ("1.0.0", spec.VERSION)
    for option in told["mountOptions"]:
        kind = "bind" if "idmap" in option else "tmpfs"
        mount_options.check(spec.Mount("/a", kind, "/b", (kind, option) if kind == "bind" else (option,)), "here")
    assert {"rro", "rbind", "rprivate", "nosymfollow"} <= set(told["mountOptions"])
    assert {"mount", "pid", "user"} <= set(told["linux"]["namespaces"])
    assert set(told["linux"]["seccomp"]["supportedFlags"]) <= set(told["linux"]["seccomp"]["knownFlags"])


VERBS = [[verb, "--help"] for verb in VERBS_OF_OCI]


@pytest.mark.parametrize("argv", [[], ["--help"], ["help"], ["h"], ["-h"], ["help", "create"], *VERBS])
def test_help_is_there(argv: list[str], runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert "USAGE" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_knows_the_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "crate-oci list -q" in out
    for flag in ("console-socket", "pids-limit", "ignore-paused", "cgroup-manager"):
        assert flag in out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("--log-format ''", "text json"),
        ("--root /r list --format ''", "table json"),
        ("kill --r", "--regex"),
        ("exec --ign", "--ignore-paused"),
        ("exec box ''", ""),
    ],
)
def test_a_bash_completion_offers_what_fits(
    words: str, offered: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["completion", "bash"])
    (tmp_path / "c").write_text(capsys.readouterr().out)
    program = (
        f'. "$0"; COMP_WORDS=(crate-oci {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _crate_oci; echo "${{COMPREPLY[*]}}"'
    )
    done = subprocess.run(["bash", "--norc", "-c", program, str(tmp_path / "c")], capture_output=True, text=True, check=True)
    assert done.stdout == f"{offered}\n"


def test_no_completion_for_another_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 1
    assert "there is no completion for tcsh" in capsys.readouterr().err
