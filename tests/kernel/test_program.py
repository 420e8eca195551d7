"""Where a container's program begins, and how it is found: a message and Docker's exit code where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# --- the working directory -------------------------------------------------------------------------------------------


def test_the_working_directory_is_the_specs_and_made_where_missing(oci):
    for cwd in ("/tmp", "/made/for/me"):
        bundle = oci.bundle("/bin/pwd")
        bundle.process["cwd"] = cwd
        assert oci.output(bundle) == cwd + "\n"


def test_a_working_directory_behind_a_symlink_stays_inside(oci):
    bundle = oci.bundle("/bin/pwd")
    (bundle.rootfs / "link").symlink_to("/../../../../tmp")
    bundle.process["cwd"] = "/link"
    assert oci.output(bundle) == "/tmp\n"


def test_a_working_directory_that_is_a_file_is_an_error(oci):
    bundle = oci.bundle("/bin/pwd")
    bundle.process["cwd"] = "/etc/passwd"
    bundle.write()
    assert "cannot use /etc/passwd as working directory" in oci.fails("run", "--bundle", bundle.directory, oci.name())


# --- what finds the program ------------------------------------------------------------------------------------------

_RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from cratebox.errors import CrateError
from cratebox.runtime import lifecycle
try:
    print("code", lifecycle.run(sys.argv[2], sys.argv[3], sys.argv[4]))
except CrateError as error:
    print(error.exit_code, error)
"""
_PROGRAMS = [
    (["nothing"], 127, "executable file not found in $PATH"),
    (["/nothing"], 127, "no such file or directory"),
    (["./nothing"], 127, "no such file or directory"),
    (["/etc/passwd/x"], 127, "not a directory"),
    (["/etc"], 126, "is a directory"),
    (["/etc/passwd"], 126, "permission denied"),
    (["/junk"], 126, "exec format error"),
    (["/script"], 127, "no such file or directory"),
    (["plain"], 126, "permission denied"),
    (["/bin/true", "x" * 140_000], 126, "argument list too long"),
]


def _tree_of_programs(bundle) -> None:
    root = bundle.rootfs
    for name, text, mode in (
        ("junk", "junk", 0o755),
        ("script", "#!/no/such\n", 0o755),
        ("first/plain", "", 0o644),
        ("first/both", "", 0o644),
        ("second/both", "#!/bin/sh\necho second\n", 0o755),
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(mode)
    (root / "first/true").mkdir()
    bundle.process["env"] = ["PATH=/first:/missing:/second:/etc/passwd:/bin"]


def _tell(oci, bundle) -> str:
    bundle.write()
    source = Path(__file__).resolve().parents[2] / "src"
    argv = [sys.executable, "-c", _RUN, str(source), str(oci.root), oci.name(), str(bundle.directory)]
    done = oci.person.run(argv)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("args", "code", "text"), _PROGRAMS, ids=[one[0][0] for one in _PROGRAMS])
def test_a_program_that_cannot_run_says_why_with_dockers_exit_code(oci, args, code, text):
    bundle = oci.bundle(*args)
    _tree_of_programs(bundle)
    told = _tell(oci, bundle)
    assert told.startswith(f"{code} "), told
    assert text in told
    assert oci.left() == []


def test_a_program_later_on_the_path_is_found_behind_one_that_cannot_run(oci):
    bundle = oci.bundle("both")
    _tree_of_programs(bundle)
    assert _tell(oci, bundle) == "second\ncode 0\n"


def test_a_directory_on_the_path_is_no_program(oci):
    bundle = oci.bundle("true")
    _tree_of_programs(bundle)
    assert _tell(oci, bundle) == "code 0\n"


def test_a_directory_of_the_path_that_the_user_cannot_enter_is_passed_over(oci):
    bundle = oci.bundle("true")
    (bundle.rootfs / "closed").mkdir(mode=0o700)
    bundle.process["env"] = ["PATH=/closed:/bin"]
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["capabilities"] = {}
    oci.give(bundle.directory)
    assert _tell(oci, bundle) == "code 0\n"


def test_a_relative_program_is_looked_for_in_the_working_directory(oci):
    bundle = oci.bundle("./both")
    _tree_of_programs(bundle)
    bundle.process["cwd"] = "/second"
    assert _tell(oci, bundle) == "second\ncode 0\n"


def test_an_empty_word_of_the_path_is_the_working_directory(oci):
    bundle = oci.bundle("both")
    _tree_of_programs(bundle)
    bundle.process.update(cwd="/second", env=["PATH=/missing::/nothing"])
    assert _tell(oci, bundle) == "second\ncode 0\n"


def test_the_programs_own_name_is_the_first_word(oci):
    assert oci.output(oci.bundle("sh", "-c", "cat /proc/self/cmdline | tr '\\0' ' '; echo $0")).endswith("sh\n")
