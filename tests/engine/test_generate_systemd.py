"""crate generate systemd: what it prints of real containers, and what it refuses."""

from __future__ import annotations

from pathlib import Path


def test_a_unit_starts_and_stops_the_container_it_was_made_for(box) -> None:
    identity = box.create("--name", "web", "--stop-timeout", "3", "@", "sleep", "100")
    unit = box.crate.ok("generate", "systemd", "web")
    assert f"start --attach {identity}" in unit
    assert f"stop --timeout 3 {identity}" in unit
    assert f"--root {box.crate.root} --state {box.crate.state}" in unit
    named = box.crate.ok("generate", "systemd", "-n", "-t", "7", "--restart-policy", "always", "web")
    assert "start --attach web" in named
    assert "Restart=always" in named
    assert "stop --timeout 7 web" in named


def test_what_a_unit_executes_works(box) -> None:
    box.create("--name", "web", "@", "sh", "-c", "echo run; exit 4")
    unit = box.crate.ok("generate", "systemd", "-n", "web")
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    done = box.crate.person.run(start.removeprefix("ExecStart=").split(), env={}, timeout=60)
    assert (done.returncode, done.stdout) == (4, "run\n")


def test_a_unit_as_a_file(box, tmp_path: Path) -> None:
    box.create("--name", "web", "@", "true")
    place = box.crate.directory / "units"
    place.mkdir()
    import os

    os.chown(place, box.crate.person.uid, -1)
    written = box.crate.ok("generate", "systemd", "-f", "-n", "web", cwd=place)
    assert written == str(place / "container-web.service")
    assert Path(written).read_text() == box.crate.ok("generate", "systemd", "-n", "web") + "\n"


def test_two_who_restart_are_one_too_many(box) -> None:
    box.create("--name", "web", "--restart", "always", "@", "true")
    said = box.crate.fails("generate", "systemd", "web")
    assert "web has the restart policy always" in said
    assert "crate update --restart no web" in said


def test_the_unit_for_all_takes_no_container(root_box) -> None:
    assert "system start" in root_box.crate.ok("generate", "systemd", "--system-start")
    for words in ((), ("--system-start", "web")):
        assert "one container, or --system-start" in root_box.crate.fails("generate", "systemd", *words)
    assert "no container web" in root_box.crate.fails("generate", "systemd", "web")
    assert "not there yet" in root_box.crate.fails("generate", "systemd", "--new", "web")
