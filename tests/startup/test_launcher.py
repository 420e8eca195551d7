"""The launcher finds the interpreter and the package in every kind of installation, and reads nothing it should not.

The package is the real one, built and installed by pip; only its `main` is replaced by one that tells how it was started.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import people

CHECKOUT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"

REPORT = """
import json, os, sys

def main(args):
    out = {"args": args, "executable": sys.executable, "package": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
           "isolated": sys.flags.isolated, "no_site": sys.flags.no_site, "argv0": sys.argv[0], "cwd": os.getcwd(),
           "path": sys.path,
           "command": COMMAND}
    if args[:1] == ["libraries"]:
        from cratebox.third_party import add_site_packages
        add_site_packages()
        out["path"] = sys.path
    if args[:1] == ["raise"]:
        raise {"interrupt": KeyboardInterrupt, "pipe": BrokenPipeError, "bug": ZeroDivisionError}[args[1]]("x\\x1b[31m\\ny")
    if args[:1] == ["code"]:
        return int(args[1])
    print(json.dumps(out))
    return 0
"""


class Installation:
    """One installed crate: its command, and what it says about how it was started."""

    def __init__(self, command: Path, package: Path) -> None:
        self.command = command
        self.package = package
        for name, file in (("main", "main.py"), ("oci", "oci/main.py")):
            text = REPORT.replace("COMMAND", repr(name))
            (package / "cli" / file).unlink(missing_ok=True)
            (package / "cli" / file).write_text(text)
        shutil.rmtree(package / "cli" / "__pycache__", ignore_errors=True)

    def report(self, *args: str, via: str | Path | None = None, **options: object) -> dict[str, object]:
        done = run([str(via or self.command), *args], **options)
        assert done.returncode == 0, done.stderr
        told: dict[str, object] = json.loads(done.stdout)
        return told


def run(argv: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    given: dict[str, object] = {"capture_output": True, "text": True, "timeout": 300, "stdin": subprocess.DEVNULL}
    return subprocess.run(argv, **(given | options))  # type: ignore[call-overload, no-any-return]


def pip(python: str | Path, *args: str, **options: object) -> None:
    """Run the tests' own pip for the interpreter `python`."""
    quiet = ["-q", "--no-input", "--disable-pip-version-check", "--root-user-action=ignore"]
    done = run([sys.executable, "-m", "pip", "--python", str(python), *args, *quiet], **options)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = copy_checkout(tmp_path_factory.mktemp("source") / "checkout")
    out = tmp_path_factory.mktemp("wheel")
    done = run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)])
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


def copy_checkout(to: Path) -> Path:
    to.mkdir()
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("src", "launcher"):
        shutil.copytree(CHECKOUT / name, to / name, ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, to / name)
    return to


def make_venv(at: Path) -> Path:
    done = run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", str(at)])
    assert done.returncode == 0, done.stdout + done.stderr
    return at


def package_in(prefix: Path) -> Path:
    (found,) = prefix.glob("**/*-packages/cratebox")
    return found


@pytest.fixture(scope="session")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    at = make_venv(tmp_path_factory.mktemp("venv") / "with a space")
    pip(at / "bin/python3", "install", "--no-deps", "--no-index", str(wheel))
    return Installation(at / "bin/crate", package_in(at))


@pytest.fixture(scope="session")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    checkout = copy_checkout(tmp_path_factory.mktemp("editable") / "checkout")
    at = make_venv(checkout.parent / "venv")
    pip(at / "bin/python3", "install", "--no-deps", "-e", str(checkout))
    return Installation(at / "bin/crate", checkout / "src/cratebox")


@pytest.fixture(scope="session")
def ordinary_home() -> Iterator[Path]:
    if os.geteuid() == 0 and (reason := people.why_not("user")):
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="crate-test-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture(scope="session")
def user_installation(wheel: Path, ordinary_home: Path) -> Installation:
    person = people.person("user", ordinary_home / "home")
    readable = shutil.copy(wheel, ordinary_home)
    os.chmod(readable, 0o644)
    probe = person.run([SYSTEM_PYTHON, "-m", "pip", "--version"])
    if probe.returncode:
        pytest.skip("the system's Python has no pip (apt-get install python3-pip)")
    # Debian 12 and later mark their Python as the distribution's; a user's own directory is not the distribution's.
    env = {"PIP_BREAK_SYSTEM_PACKAGES": "1"}
    done = person.run([SYSTEM_PYTHON, "-m", "pip", "install", "-q", "--user", "--no-deps", "--no-index", readable], env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return Installation(person.home / ".local/bin/crate", package_in(person.home / ".local"))


# --- where it may live -----------------------------------------------------------------------------------------------


def test_in_a_virtual_environment_the_interpreter_beside_the_command_runs(venv: Installation) -> None:
    told = venv.report()
    assert os.path.dirname(str(told["executable"])) == str(venv.command.parent / "../bin").replace("/bin/../bin", "/bin")
    assert told["package"] == str(venv.package)


def test_in_an_editable_installation_the_source_directory_runs(editable: Installation) -> None:
    told = editable.report()
    assert told["package"] == str(editable.package)
    assert str(told["executable"]).startswith(str(editable.command.parent))


def test_in_an_editable_installation_the_libraries_are_those_of_its_environment(editable: Installation) -> None:
    sites = [str(p) for p in editable.command.parent.parent.glob("lib/python3*/site-packages")]
    path = editable.report("libraries")["path"]
    assert isinstance(path, list)
    assert sites[0] in path
    assert not [p for p in path if "dist-packages" in p]


def test_an_edited_entry_runs_in_an_editable_installation(editable: Installation) -> None:
    entry = editable.package / "_entry.py"
    text = entry.read_text()
    editable.report()
    entry.write_text(text + "\nraise SystemExit(77)\n")
    entry.write_text(text.replace('if __name__ == "__main__":', 'if __name__ == "__main__":\n    raise SystemExit(77)', 1))
    try:
        assert run([str(editable.command)]).returncode == 77
    finally:
        entry.write_text(text)


def test_in_a_user_installation_the_systems_interpreter_runs(user_installation: Installation) -> None:
    told = user_installation.report()
    assert str(told["executable"]).startswith("/usr/bin/python3.")
    assert told["package"] == str(user_installation.package)


def test_a_user_installation_runs_as_that_user(user_installation: Installation, ordinary_home: Path) -> None:
    person = people.person("user", ordinary_home / "home")
    done = person.run(["sh", "-c", "PATH=$HOME/.local/bin:$PATH; crate one two"])
    assert json.loads(done.stdout)["args"] == ["one", "two"], done.stderr


def test_a_system_installation_of_debian_is_found(venv: Installation, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    packages = tmp_path / "lib/python3/dist-packages"
    packages.mkdir(parents=True)
    shutil.copytree(venv.package, packages / "cratebox")
    shutil.copy(venv.command, tmp_path / "bin/crate")
    told = Installation(tmp_path / "bin/crate", packages / "cratebox").report()
    assert told["executable"] == "/usr/bin/python3"
    assert told["package"] == str(packages / "cratebox")


def test_a_local_installation_of_debian_is_found(venv: Installation, tmp_path: Path) -> None:
    version = venv.package.parents[1].name
    (tmp_path / "bin").mkdir()
    packages = tmp_path / "lib" / version / "dist-packages"
    packages.mkdir(parents=True)
    shutil.copytree(venv.package, packages / "cratebox")
    shutil.copy(venv.command, tmp_path / "bin/crate")
    told = Installation(tmp_path / "bin/crate", packages / "cratebox").report()
    assert told["executable"] == f"/usr/bin/{version}"


def test_a_target_directory_is_found(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    pip(SYSTEM_PYTHON, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    assert Installation(target / "bin/crate", target / "cratebox").report()["package"] == str(target / "cratebox")


def test_the_checkout_itself_runs(editable: Installation) -> None:
    launcher = editable.package.parents[1] / "launcher/crate"
    assert editable.report(via=launcher)["package"] == str(editable.package)


# --- how it may be reached -------------------------------------------------------------------------------------------


def test_a_chain_of_symlinks_leads_to_it(venv: Installation, tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(venv.command)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/two").symlink_to("../one")
    assert venv.report(via=tmp_path / "sub/two")["package"] == str(venv.package)


def test_a_symlinked_bin_directory_leads_to_it(venv: Installation, tmp_path: Path) -> None:
    (tmp_path / "tools").symlink_to(venv.command.parent)
    assert venv.report(via=tmp_path / "tools/crate")["package"] == str(venv.package)


def test_a_symlink_with_a_newline_in_its_name_leads_to_it(venv: Installation, tmp_path: Path) -> None:
    (tmp_path / "new\n").symlink_to(venv.command)
    assert venv.report(via=tmp_path / "new\n")["package"] == str(venv.package)


def test_a_relative_path_leads_to_it(venv: Installation) -> None:
    told = venv.report(via="../bin/crate", cwd=venv.command.parent)
    assert told["package"] == str(venv.package)


def test_path_leads_to_it(venv: Installation, tmp_path: Path) -> None:
    told = venv.report(via="crate", cwd=tmp_path, env={"PATH": f"{venv.command.parent}:/usr/bin:/bin"})
    assert told["package"] == str(venv.package)
    assert told["cwd"] == str(tmp_path)


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_any_shell_runs_it_by_its_bare_name(venv: Installation, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = [shell, "sh"] if shell == "busybox" else [shell]
    told = json.loads(run([*words, "crate", "x"], cwd=venv.command.parent).stdout)
    assert told["args"] == ["x"]


def test_an_empty_environment_is_enough(venv: Installation) -> None:
    assert venv.report(env={})["package"] == str(venv.package)


def test_crate_oci_is_the_other_command(venv: Installation) -> None:
    assert venv.report(via=venv.command.with_name("crate-oci"))["command"] == "oci"
    assert venv.report()["command"] == "main"


def test_both_launchers_are_one_text() -> None:
    assert (CHECKOUT / "launcher/crate").read_bytes() == (CHECKOUT / "launcher/crate-oci").read_bytes()


# --- what it must not read or do -------------------------------------------------------------------------------------


def test_arguments_are_passed_as_they_are(venv: Installation) -> None:
    words = ["$(touch x)", "`id`", "a b", "", "*", "'", '"', "-X", "\\", "a\nb", "--", "\udcff"]
    assert venv.report(*words)["args"] == words


def test_python_variables_and_the_working_directory_are_not_read(venv: Installation, tmp_path: Path) -> None:
    for name in ("cratebox", "os", "struct", "sitecustomize", "usercustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(99)")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "os.py"),
        "PYTHONINSPECT": "1",
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "ENV": str(tmp_path / "env"),
        "IFS": "/",
    }
    told = venv.report(cwd=tmp_path, env=hostile)
    assert told["isolated"] == told["no_site"] == 1
    assert str(tmp_path) not in str(told["path"])


def test_a_module_beside_the_package_hides_no_standard_module(venv: Installation) -> None:
    trap = venv.package.parent / "json.py"
    trap.write_text("raise SystemExit(99)")
    try:
        venv.report()
    finally:
        trap.unlink()


def test_the_compiled_entry_runs_after_pip_installed_it(venv: Installation) -> None:
    assert str(venv.report()["argv0"]).endswith(".pyc")


def test_a_read_only_installation_that_was_never_compiled_runs(venv: Installation, tmp_path: Path, ordinary_home: Path) -> None:
    copy = ordinary_home / "read-only"
    shutil.copytree(venv.command.parents[1], copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    installation = Installation(copy / "bin/crate", package_in(copy))
    run(["chmod", "-R", "a-w", str(copy)])
    done = people.person("user", ordinary_home / "home").run([str(installation.command)])
    assert json.loads(done.stdout)["argv0"].endswith("_entry.py"), done.stderr


def test_an_installation_that_was_never_compiled_compiles_itself(venv: Installation, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(venv.command.parents[1], copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    installation = Installation(copy / "bin/crate", package_in(copy))
    assert str(installation.report()["argv0"]).endswith("_entry.py")
    assert str(installation.report()["argv0"]).endswith(".pyc")


def test_a_package_that_is_gone_is_said_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(CHECKOUT / "launcher/crate", tmp_path / "bin/crate")
    done = run([str(tmp_path / "bin/crate")])
    assert done.returncode == 125
    assert done.stderr.startswith("crate: there is no package cratebox beside ")
    assert "hint: " in done.stderr


def test_an_interpreter_that_is_gone_is_named(venv: Installation, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    packages = tmp_path / "lib/python3.99/site-packages"
    packages.mkdir(parents=True)
    shutil.copytree(venv.package, packages / "cratebox")
    shutil.copy(venv.command, tmp_path / "bin/crate")
    done = run([str(tmp_path / "bin/crate")])
    assert (done.returncode, done.stderr.splitlines()[0]) == (125, "crate: it was installed for python3.99, which is gone")


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 125, 255])
def test_the_exit_code_is_that_of_main(venv: Installation, code: int) -> None:
    assert run([str(venv.command), "code", str(code)]).returncode == code


def test_an_interrupt_ends_it_quietly(venv: Installation) -> None:
    done = run([str(venv.command), "raise", "interrupt"])
    assert (done.returncode, done.stderr) == (130, "")


def test_a_reader_that_went_away_ends_it_quietly(venv: Installation) -> None:
    done = run([str(venv.command), "raise", "pipe"])
    assert (done.returncode, done.stderr) == (141, "")
    reader, writer = os.pipe()
    os.close(reader)
    done = run([str(venv.command)], stdout=writer, capture_output=False, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_bug_is_one_line_and_says_how_to_see_more(venv: Installation) -> None:
    done = run([str(venv.command), "raise", "bug"])
    first, second = done.stderr.splitlines()
    assert done.returncode == 125
    assert first == "crate: internal error: ZeroDivisionError: x\\x1b[31m\\ny"
    assert "CRATE_DEBUG=1" in second


def test_crate_debug_shows_the_traceback(venv: Installation) -> None:
    done = run([str(venv.command), "raise", "bug"], env={"CRATE_DEBUG": "1"})
    assert "Traceback" in done.stderr


def test_a_full_disk_under_the_output_is_an_error(venv: Installation) -> None:
    with open("/dev/full", "w") as full:
        done = run([str(venv.command)], stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert done.returncode == 125
    assert done.stderr == "crate: cannot write the output: No space left on device\n"


def test_closed_standard_streams_are_no_trap(venv: Installation) -> None:
    script = 'exec "$1" code 3 0<&- 1>&- 2>&-'
    assert run(["sh", "-c", script, "sh", str(venv.command)]).returncode == 3


def test_python_m_cratebox_does_the_same(venv: Installation) -> None:
    done = run([str(venv.command.with_name("python3")), "-m", "cratebox", "a"], env={})
    assert json.loads(done.stdout)["args"] == ["a"]
