"""What a command that was killed leaves, and a supervisor that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cratebox.linux import lock

ID = "0123456789abcdef" * 4
LONG_AGO = (1_000_000_000, 1_000_000_000)


def leave(box, kind: str) -> Path:  # type: ignore[no-untyped-def]
    """Make the directory that a killed command leaves, of a container with a name, a minute old and more."""
    where = box.crate.root / "containers" / f".{kind}-{ID}"
    (where / "rw").mkdir(parents=True)
    (where / "lock").touch()
    (box.crate.root / "names").mkdir(exist_ok=True)
    (box.crate.root / "names/left").symlink_to(ID)
    for path in (where / "rw", where / "lock", where):
        os.chown(path, box.crate.person.uid, -1)
    os.utime(where, LONG_AGO)
    return where


@pytest.mark.parametrize("kind", ["new", "removing"])
def test_a_removal_deletes_what_a_killed_command_left(box, kind: str) -> None:
    name = box.create("@", "true")
    where = leave(box, kind)
    box.crate.ok("rm", name)
    assert not where.exists()
    assert not (box.crate.root / "names/left").is_symlink()


@pytest.mark.parametrize("kind", ["new", "removing"])
def test_a_removal_leaves_what_a_living_command_makes(box, kind: str) -> None:
    name = box.create("@", "true")
    where = leave(box, kind)
    held = lock.try_hold(str(where / "lock"))
    assert held is not None
    try:
        box.crate.ok("rm", name)
        assert where.exists()
    finally:
        os.close(held)


def test_looking_at_containers_keeps_nobody_from_starting_one(box) -> None:
    """`ps` asks for locks; a container that it takes them from could not be started in that moment."""
    name = box.create("@", "true")
    looking = [box.crate.start("ps", "-a", stdout=subprocess.DEVNULL) for _ in range(4)]
    codes = [box.crate("start", "-a", name).returncode for _ in range(4)]
    assert codes == [0] * 4
    assert [process.wait(60) for process in looking] == [0] * 4


def run_in_python(box, script: str) -> subprocess.CompletedProcess[str]:  # type: ignore[no-untyped-def]
    return box.crate.person.run(
        [sys.executable, "-c", textwrap.dedent(script), box.image], env=box.crate.environment, timeout=60
    )


def test_a_supervisor_that_fails_ends_its_container_and_says_so(box) -> None:
    done = run_in_python(
        box,
        """
        import sys
        import cratebox
        from cratebox.engine.pump import Pump

        def read(self, stream):
            raise OSError(5, "made up")

        Pump._read = read
        config = cratebox.ContainerConfig(image=sys.argv[1], command=("sh", "-c", "echo x; exec sleep 900"), name="fails")
        print(cratebox.Engine().containers.run(config))
        """,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "137"), done.stderr
    state = json.loads(box.crate.ok("inspect", "fails"))[0]["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    assert "its supervisor failed: OSError" in state["Error"]


def test_an_id_that_cannot_be_written_down_leaves_no_container(box) -> None:
    message = box.crate.fails("create", "--cidfile", "/dev/full", box.image, "true")
    assert "there already" in message
    done = run_in_python(
        box,
        """
        import os, sys
        import cratebox
        from cratebox.engine import making

        making._claim_file = lambda path: os.open("/dev/full", os.O_WRONLY)
        open(os.environ["CRATE_ROOT"] + "/cid", "w").close()
        config = cratebox.ContainerConfig(image=sys.argv[1], command=("true",), name="half", remove=True)
        try:
            cratebox.Engine().containers.run(config, cidfile=os.environ["CRATE_ROOT"] + "/cid")
        except cratebox.CrateError as error:
            print(error)
        """,
    )
    assert "No space left on device" in done.stdout, done.stderr
    assert box.crate.ok("ps", "-aq") == ""
    assert os.listdir(box.crate.root / "names") == []
    assert not (box.crate.root / "cid").exists()
