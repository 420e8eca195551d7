"""What the command line says and ends with, before an engine that is a fake."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import time
import types

import pytest

from cratebox import errors
from cratebox.cli.main import main
from cratebox.image import transport
from cratebox.image.manifest import ImageConfig
from cratebox.image.store import StoredImage
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

ID = "c144672a8e04" + "ab" * 26


class Container(Record):
    id: str = ID
    name: str = "web"


class Status(Record):
    id: str = ID
    name: str = "web"
    image: str = "alpine"
    image_id: str = "sha256:" + "12" * 32
    command: tuple[str, ...] = ("/bin/sh", "-c", "echo hello world")
    created: float = 0.0
    status: str = "running"
    exit_code: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    pid: int = 7
    labels: dict[str, str] = {}  # noqa: RUF012
    health: str = ""
    network: str = "host"
    networks: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    alive: bool = True
    mounts: tuple[Any, ...] = ()


class Image(StoredImage):
    id: str = "sha256:" + "34" * 32
    manifest_digest: str = "sha256:" + "56" * 32
    names: tuple[str, ...] = ("docker.io/library/alpine:latest",)
    repo_digests: tuple[str, ...] = ()
    created: str = "2024-01-01T00:00:00Z"
    size: int = 7_833_000
    config: ImageConfig = ImageConfig(architecture="amd64", os="linux")
    layers: tuple[str, ...] = ()
    tagged: str = ""


class Containers:
    """Answers from `answers`, by method; an exception there is raised. Writes down its calls."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"damaged": ()}
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.calls.append((method, args, named))
            answer = self.answers.get(method)
            if isinstance(answer, dict) and args and isinstance(args[0], str):
                answer = answer.get(args[0], answer)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return call


class Images(Containers):
    last_status = "downloaded"

    def source(self, name: str) -> transport.Source:
        return transport.parse(name)


class Volumes:
    def inspect(self, name: str) -> dict[str, Any]:
        raise errors.NotFound(name)


class Engine:
    containers = Containers()
    images = Images()
    networks = secrets = volumes = Volumes()
    paths: Any = None

    def __init__(self, paths: Any, access: Any = None) -> None:
        assert access is None
        Engine.paths = paths

    def info(self) -> dict[str, Any]:
        return {"Networks": ["none", "host"], "Rootless": False, "CrateRootDir": "/x"}

    def version(self) -> dict[str, Any]:
        return {"Version": "0.1.0", "KernelVersion": "6.1"}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Engine]]:
    Engine.containers, Engine.images = Containers(), Images()
    module = types.ModuleType("cratebox.engine.engine")
    module.Engine = Engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cratebox.engine.engine", module)
    monkeypatch.delenv("CRATE_DEBUG", raising=False)
    yield Engine
    os.environ.pop("CRATE_DEBUG", None)


class Said(Record):
    code: int
    out: str
    err: str


@pytest.fixture
def crate(engine: type[Engine], capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*argv: str) -> Said:
        code = main(list(argv))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def test_an_error_says_what_and_what_helps(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["start"] = errors.Conflict("web is paused, not created", "crate unpause web")
    assert crate("start", "web") == Said(125, "", "crate start: web is paused, not created\n  hint: crate unpause web\n")


@pytest.mark.parametrize(
    ("error", "code"), [(errors.CannotInvoke("a"), 126), (errors.CommandNotFound("a"), 127), (errors.RegistryError("a"), 125)]
)
def test_an_error_ends_with_its_own_exit_code(
    error: Exception, code: int, crate: Callable[..., Said], engine: type[Engine]
) -> None:
    engine.containers.answers["run"] = error
    assert crate("run", "alpine", "x").code == code


def test_an_escape_sequence_in_an_error_is_inert(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["run"] = errors.NotFound("no \x1b[31mred\n image", "\x07")
    assert crate("run", "alpine").err == "crate run: no \\x1b[31mred\\n image\n  hint: \\x07\n"


def test_a_full_disk_is_one_line_with_a_hint(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["run"] = OSError(28, "No space left on device", "/var/x")
    assert crate("run", "alpine") == Said(
        125,
        "",
        "crate run: /var/x: No space left on device\n"
        "  hint: make room on that disk, or choose another with --root and --state\n",
    )


def test_ctrl_c_is_quiet_and_130(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["run"] = KeyboardInterrupt()
    assert crate("run", "alpine") == Said(130, "", "")


def test_a_debug_flag_shows_where_an_error_comes_from(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["run"] = errors.NotFound("no image")
    assert "Traceback" in crate("--debug", "run", "alpine").err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("rnu", "x"), "crate: no such command: rnu\n  hint: did you mean run? see crate --help\n"),
        (("build", "x"), "crate: the command build is not there yet\n  hint: see crate --help\n"),
        (("image", "pul"), 'crate: no such command: "image pul"\n  hint: did you mean image pull? see crate image --help\n'),
        (("image", "build", "x"), "crate: the command image build is not there yet\n  hint: see crate image --help\n"),
        (("--nope", "run"), "crate: unknown flag --nope\n  hint: see crate --help\n"),
        (("run",), "crate run: an IMAGE is missing\n  hint: see crate run --help\n"),
        (("run", "--rmm", "x"), "crate run: unknown flag --rmm\n  hint: did you mean --rm? see crate run --help\n"),
        (("container", "run", "-Z"), "crate container run: unknown flag -Z\n  hint: see crate container run --help\n"),
        (("ps", "x"), "crate ps: takes no arguments, not x\n  hint: see crate ps --help\n"),
        (
            ("completion", "tcsh"),
            "crate completion: there is no completion for tcsh\n  hint: one of bash, zsh, fish; see crate completion --help\n",
        ),
    ],
)
def test_a_wrong_command_line_is_125(argv: tuple[str, ...], message: str, crate: Callable[..., Said]) -> None:
    assert crate(*argv) == Said(125, "", message)


def test_one_failing_does_not_stop_the_others(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["remove"] = {"b": errors.NotFound("there is no container b")}
    assert crate("rm", "a", "b", "c") == Said(1, "a\nc\n", "crate rm: there is no container b\n")


@pytest.mark.parametrize("verb", ["rm", "stop", "kill", "rmi"])
def test_several_failing_are_1(verb: str, crate: Callable[..., Said], engine: type[Engine]) -> None:
    method = {"rm": "remove", "rmi": "remove"}.get(verb, verb)
    for part in (engine.containers, engine.images):
        part.answers[method] = errors.NotFound("none")
    assert (crate(verb, "a", "b").code, crate(verb, "a").err) == (1, f"crate {verb}: none\n")


def test_rmi_prints_what_was_done(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["remove"] = ["Untagged: alpine:latest", "Deleted: sha256:1"]
    assert crate("image", "rm", "alpine").out == "Untagged: alpine:latest\nDeleted: sha256:1\n"


def test_run_ends_with_the_code_of_the_process(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["run"] = 42
    assert crate("run", "--rm", "alpine", "sh", "-c", "exit 42") == Said(42, "", "")


def test_run_hands_the_wish_to_the_engine(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["run"] = 0
    crate(
        "run",
        "--rm",
        "-e",
        "A=1",
        "--cap-drop",
        "all",
        "--entrypoint",
        "",
        "--pull",
        "never",
        "--cidfile",
        "f",
        "alpine",
        "ls",
        "-l",
    )
    _, (config,), named = engine.containers.calls[0]
    assert (config.command, config.remove, config.env, config.cap_drop, config.entrypoint) == (
        ("ls", "-l"),
        True,
        ("A=1",),
        ("ALL",),
        (),
    )
    assert (named["pull"], named["cidfile"], named["detach"], named["sig_proxy"], named["detach_keys"]) == (
        "never",
        "f",
        False,
        True,
        None,
    )


def test_run_detached_prints_the_id(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["run"] = ID
    assert crate("run", "-d", "alpine") == Said(0, ID + "\n", "")


def test_a_terminal_needs_a_terminal(crate: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda _fd: False)
    assert crate("run", "-it", "alpine") == Said(125, "", "crate run: standard input is not a terminal\n  hint: leave out -t\n")


def test_variables_of_the_command_line_come_after_those_of_files(
    crate: Callable[..., Said], engine: type[Engine], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "f").write_text("A=file\n")
    engine.containers.answers["run"] = 0
    crate("run", "-e", "A=flag", "--env-file", str(tmp_path / "f"), "alpine")
    assert engine.containers.calls[0][1][0].env == ("A=file", "A=flag")


def test_two_mounts_at_one_place_are_refused(crate: Callable[..., Said]) -> None:
    assert crate("run", "-v", "/a:/x", "--tmpfs", "/x", "alpine").err == "crate run: two mounts at /x\n"


def test_create_prints_the_id(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["create"] = Container()
    assert crate("create", "alpine") == Said(0, ID + "\n", "")


def test_create_hands_on_the_file_for_the_id(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["create"] = Container()
    assert crate("create", "--cidfile", "cid", "alpine") == Said(0, ID + "\n", "")
    assert engine.containers.calls[0][2]["cidfile"] == "cid"


def test_start_prints_what_was_typed(crate: Callable[..., Said], engine: type[Engine]) -> None:
    assert crate("start", "web") == Said(0, "web\n", "")
    assert engine.containers.calls[0] == (
        "start",
        ("web",),
        {"command": (), "attach": False, "interactive": False, "detach_keys": None},
    )


def test_start_with_a_command_stays_and_ends_with_its_code(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["start"] = 3
    assert crate("start", "web", "ls", "-a") == Said(3, "", "")
    assert engine.containers.calls[-1][2] == {
        "command": ("ls", "-a"),
        "attach": True,
        "interactive": False,
        "detach_keys": None,
    }


def test_kill_reads_the_signal_before_it_looks_for_containers(crate: Callable[..., Said], engine: type[Engine]) -> None:
    said = crate("kill", "-s", "NOPE", "web")
    assert (said.code, said.err.splitlines()[0], engine.containers.calls) == (125, "crate kill: no such signal: NOPE", [])


def test_kill_sends_the_number(crate: Callable[..., Said], engine: type[Engine]) -> None:
    crate("kill", "-s", "hup", "web")
    assert engine.containers.calls == [("kill", ("web", 1), {})]


@pytest.mark.parametrize(("argv", "timeout"), [((), None), (("-t", "2"), 2.0), (("--time=0",), 0.0), (("-t", "-1"), -1.0)])
def test_stop_takes_a_time(
    argv: tuple[str, ...], timeout: float | None, crate: Callable[..., Said], engine: type[Engine]
) -> None:
    crate("stop", *argv, "web")
    assert engine.containers.calls == [("stop", ("web", timeout, None), {})]


def test_pull_ends_with_the_full_name(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["pull"] = Image()
    assert crate("pull", "alpine").out == (
        f"Using default tag: latest\nDigest: {Image().manifest_digest}\n"
        "Status: Downloaded newer image for alpine:latest\ndocker.io/library/alpine:latest\n"
    )


def test_pull_of_what_is_there_says_so(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["pull"] = Image()
    engine.images.last_status = "present"
    assert "Status: Image is up to date for alpine:3\n" in crate("pull", "alpine:3").out


def test_a_quiet_pull_prints_the_full_name_alone(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["pull"] = Image()
    assert crate("pull", "-q", "alpine").out == "docker.io/library/alpine:latest\n"


def test_a_pull_without_a_terminal_says_plain_lines(crate: Callable[..., Said], engine: type[Engine]) -> None:
    def pull(_name: str, progress: Any, **_named: Any) -> Image:
        progress.layer("sha256:" + "a" * 64, 10)
        progress.layer("sha256:" + "a" * 64, 10)
        progress.advance("sha256:" + "a" * 64, 10)
        progress.done("sha256:" + "a" * 64, "Pull complete")
        return Image()

    engine.images.pull = pull  # type: ignore[method-assign]
    assert "aaaaaaaaaaaa: Pulling\naaaaaaaaaaaa: Pull complete\nDigest:" in crate("pull", "alpine").out


def test_a_pull_for_run_keeps_standard_output_clean(crate: Callable[..., Said], engine: type[Engine]) -> None:
    def run(_config: Any, progress: Any, **_named: Any) -> int:
        progress.message("Unable to find image")
        return 0

    engine.containers.run = run  # type: ignore[method-assign]
    assert crate("run", "alpine") == Said(0, "", "Unable to find image\n")


def test_images_is_dockers_table(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["list"] = [Image(created="")]
    assert crate("images").out == (
        "REPOSITORY   TAG       IMAGE ID       CREATED   SIZE\nalpine       latest    343434343434   N/A       7.83MB\n"
    )


def test_an_image_without_a_name_is_none(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["list"] = [Image(names=())]
    assert crate("images", "--format", "{{.Repository}}:{{.Tag}}").out == "<none>:<none>\n"


def test_images_asks_for_what_its_words_say(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["list"] = [Image()]
    crate("images", "-f", "dangling=true", "--filter", "label=x", "alpine")
    assert engine.images.calls[0][1] == (("dangling=true", "label=x", "reference=alpine"),)


def test_an_image_with_two_names_has_one_id(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["list"] = [Image(names=("docker.io/library/a:1", "docker.io/library/b:1"))]
    assert crate("images", "-q", "--no-trunc").out == Image().id + "\n"


def test_ps_is_dockers_table(crate: Callable[..., Said], engine: type[Engine]) -> None:
    now = time.time()
    engine.containers.answers["list"] = [Status(created=now - 200, started_at=now - 190)]
    assert crate("ps").out == (
        "CONTAINER ID   IMAGE     COMMAND                  CREATED         STATUS         PORTS     NAMES\n"
        'c144672a8e04   alpine    "/bin/sh -c \'echo he…"   3 minutes ago   Up 3 minutes             web\n'
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"status": "created"}, "Created"),
        ({"status": "running", "started_at": -7200}, "Up 2 hours"),
        ({"status": "exited", "exit_code": 0, "finished_at": -5}, "Exited (0) 5 seconds ago"),
        ({"status": "exited", "exit_code": 137, "finished_at": None}, "Exited (137)"),
        ({"status": "dead"}, "Dead"),
        ({"status": "paused", "started_at": -60}, "Up About a minute (Paused)"),
        ({"status": "paused", "started_at": -60, "health": "healthy"}, "Up About a minute (Paused)"),
        ({"status": "running", "started_at": -180, "health": "healthy"}, "Up 3 minutes (healthy)"),
        ({"status": "running", "started_at": -180, "health": "starting"}, "Up 3 minutes (health: starting)"),
        ({"status": "restarting", "exit_code": 1, "finished_at": -3}, "Restarting (1) 3 seconds ago"),
    ],
)
def test_a_status_reads_as_dockers(
    changes: dict[str, Any], text: str, crate: Callable[..., Said], engine: type[Engine]
) -> None:
    now = time.time()
    times = {key: now + value for key, value in changes.items() if key.endswith("_at") and value is not None}
    engine.containers.answers["list"] = [Status(created=now, **{**changes, **times})]
    assert crate("ps", "-a", "--format", "{{.Status}}").out == text + "\n"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), {"all": False, "filters": (), "last": 0}),
        (("-a", "--filter", "name=web", "-f", "label=x"), {"all": True, "filters": ("name=web", "label=x"), "last": 0}),
        (("-l",), {"all": False, "filters": (), "last": 1}),
        (("-n", "5"), {"all": False, "filters": (), "last": 5}),
        (("-n", "-1"), {"all": False, "filters": (), "last": 0}),
    ],
)
def test_ps_asks_for_what_its_flags_say(
    words: tuple[str, ...], asked: dict[str, object], crate: Callable[..., Said], engine: type[Engine]
) -> None:
    engine.containers.answers["list"] = [Status(name="new"), Status(name="old")]
    assert crate("ps", *words, "--format", "{{.Names}}").out == "new\nold\n"
    assert engine.containers.calls[-1][2] == asked


def test_an_escape_sequence_in_a_label_is_inert(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["list"] = [Status(labels={"a": "\x1b[2J"}, command=("\x1b]0;x\x07",))]
    for form in ("table {{.Labels}} {{.Command}}", "{{.Labels}}{{.Command}}", "json"):
        assert "\x1b" not in crate("ps", "--format", form).out


def test_ps_as_json_is_a_document_a_line(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["list"] = [Status(), Status(name="db")]
    assert [json.loads(line)["Names"] for line in crate("ps", "--format", "json").out.splitlines()] == ["web", "db"]


def test_inspect_finds_containers_before_images(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["inspect"] = {"web": {"Id": "1"}, "alpine": errors.NotFound("no"), "x": errors.NotFound("no")}
    engine.images.answers["inspect"] = {"alpine": {"Id": "2"}, "x": errors.NotFound("no")}
    said = crate("inspect", "web", "x", "alpine")
    assert json.loads(said.out) == [{"Id": "1"}, {"Id": "2"}]
    assert said.code == 1
    assert said.err.splitlines()[0] == "crate inspect: there is no container, image, network, volume or secret x"


def test_image_inspect_looks_among_images_alone(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.images.answers["inspect"] = {"alpine": {"Id": "2"}}
    assert crate("image", "inspect", "-f", "{{.Id}}", "alpine").out == "2\n"
    assert engine.containers.calls == []


def test_logs_go_to_the_streams_they_came_from(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["logs"] = [[("stdout", 0, b"a\x1b[1m\n", {}), ("stderr", 0, b"b\n", {})]]
    assert crate("logs", "-n", "3", "web") == Said(0, "a\x1b[1m\n", "b\n")
    assert engine.containers.calls[0][2] == {"follow": False, "tail": 3, "since": None, "until": None}


def test_logs_with_times_stamp_each_line_once(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["logs"] = [
        [("stdout", 0, b"a\n", {}), ("stdout", 0, b"b", {})],
        [("stdout", 1, b"c\r\n", {}), ("stdout", 2, b"d", {})],
    ]
    stamp = "1970-01-01T00:00:00.00000000"
    assert crate("logs", "-t", "web").out == f"{stamp}0Z a\n{stamp}0Z bc\r\n{stamp}2Z d"


def test_details_stand_before_each_line(crate: Callable[..., Said], engine: type[Engine]) -> None:
    engine.containers.answers["logs"] = [[("stdout", 0, b"a\n", {"tag": "x y", "env": "1"}), ("stdout", 0, b"b\n", {})]]
    assert crate("logs", "--details", "web").out == "env=1,tag=x+y a\n b\n"


@pytest.mark.parametrize(("text", "nanoseconds"), [
    ("2026-01-31T12:00:00Z", 1769860800_000000000), ("2026-01-31T13:00:00.123456789+01:00", 1769860800_123456789),
    ("1769860800", 1769860800_000000000),
    ("1769860800.5", 1769860800_500000000), ("1769860800.000000001", 1769860800_000000001),
])  # fmt: skip
def test_a_time_is_read_as_docker_does(crate: Callable[..., Said], engine: type[Engine], text: str, nanoseconds: int) -> None:
    engine.containers.answers["logs"] = []
    assert crate("logs", "--since", text, "--until", text, "web").code == 0
    assert engine.containers.calls[0][2]["since"] == engine.containers.calls[0][2]["until"] == nanoseconds


@pytest.mark.parametrize("text", ["yesterday", "1.2.3", "2026-13-01", "2026-01-31T12:00:00.Z", "-5m", "99999999999999"])
def test_what_is_no_time_is_told(crate: Callable[..., Said], engine: type[Engine], text: str) -> None:
    engine.containers.answers["logs"] = []
    said = crate("logs", f"--since={text}", "web")
    assert said.code == 125
    assert "--since is a time" in said.err


def test_global_flags_say_where_state_lives(crate: Callable[..., Said], engine: type[Engine], tmp_path: pathlib.Path) -> None:
    crate("--root", str(tmp_path / "r"), "--state=" + str(tmp_path / "s"), "info", "-f", "json")
    assert (engine.paths.root, engine.paths.state) == (str(tmp_path / "r"), str(tmp_path / "s"))


def test_info_is_for_programs_too(crate: Callable[..., Said]) -> None:
    assert json.loads(crate("info", "-f", "json").out)["CrateRootDir"] == "/x"
    assert crate("info", "-f", "{{.Rootless}} {{len .Networks}}").out == "false 2\n"
    assert crate("system", "info", "-f", "{{.Rootless}}").out == "false\n"
    assert crate("version", "--format", "{{.Version}}").out == "0.1.0\n"


@pytest.mark.parametrize("verb", [[], ["run"], ["image"], ["image", "ls"], ["completion"], ["kill"]])
def test_help_of_a_verb_is_the_same_both_ways(verb: list[str], crate: Callable[..., Said]) -> None:
    said = crate("help", *verb)
    assert said == crate(*verb, "--help")
    assert (said.code, "USAGE" in said.out, said.err) == (0, True, "")


def test_every_page_fits_into_eighty_columns(crate: Callable[..., Said]) -> None:
    from cratebox.cli.verbs import VERBS

    long = [line for verb in VERBS for line in crate("help", verb).out.splitlines() if len(line) > 80]
    assert long == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_knows_the_flags(shell: str, crate: Callable[..., Said]) -> None:
    out = crate("completion", shell).out
    assert "read-only" in out
    assert "images" in out


def test_a_bash_completion_offers_what_fits(crate: Callable[..., Said], tmp_path: pathlib.Path) -> None:
    import subprocess

    (tmp_path / "c").write_text(crate("completion", "bash").out)
    program = '. "$0"; COMP_WORDS=(crate run --pull ""); COMP_CWORD=3; _crate; echo "${COMPREPLY[*]}"'
    done = subprocess.run(["bash", "--norc", "-c", program, str(tmp_path / "c")], capture_output=True, text=True, check=True)
    assert done.stdout == "always missing never\n"
