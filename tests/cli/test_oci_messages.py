"""What crate-oci says and ends with, before a runtime that is a fake."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import types

import pytest

from cratebox import errors
from cratebox.cli.oci import main

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
        (["--systemd-cgroup", "start", "box"], "crate-oci: --systemd-cgroup is not there yet\n"),
        (["--criu", "x", "start", "box"], "crate-oci: --criu is not there yet\n"),
        (["run", "--keep", "box"], "crate-oci run: --keep is not there yet\n"),
        (["pause", "box"], "crate-oci: the command pause is not there yet\n"),
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


@pytest.mark.parametrize("argv", [[], ["--help"], ["help"], ["create", "--help"], ["help", "create"]])
def test_help_is_there(argv: list[str], runtime: Lifecycle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert "USAGE" in capsys.readouterr().out
