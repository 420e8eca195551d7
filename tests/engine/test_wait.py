"""wait: exit codes, of containers that ended before, that end now, and that vanish in doing so."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest


def waiting(box, *words: str) -> subprocess.Popen[bytes]:  # type: ignore[no-untyped-def]
    return box.crate.start("wait", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_wait_prints_the_code_of_a_container_that_has_ended(box) -> None:
    assert box.crate("run", "--name", "web", box.image, "sh", "-c", "exit 7").returncode == 7
    assert box.crate.ok("wait", "web") == "7"
    assert box.crate.ok("wait", "web", "web") == "7\n7"


def test_wait_for_a_container_that_never_ran_is_over_at_once(box) -> None:
    assert box.crate.ok("wait", box.create("true")) == "0"


@pytest.mark.parametrize("flags", [(), ("--rm",)])
def test_wait_returns_with_the_end_and_its_code(box, flags) -> None:
    name = box.detached(*flags, "-i", "@", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
    processes = [waiting(box, name) for _ in range(3)]
    where = box.crate.root / "containers" / name
    with ThreadPoolExecutor(1) as pool:
        while not (where / "waited").exists():
            pass
        pool.submit(box.crate.ok, "stop", name).result()
    said = [process.communicate(timeout=30) for process in processes]
    told = [out for out, _ in said if out == b"9\n"]
    assert told, said
    assert all(out == b"9\n" or b"removed" in err or b"no container" in err for out, err in said), said


def test_several_are_waited_for_at_once_and_told_in_order(box, until) -> None:
    """Also one that ends and is removed before the first."""
    script = "trap 'exit $CODE' TERM; while :; do sleep 0.05; done"
    first, second = (box.detached("--rm", "-e", f"CODE={code}", "@", "sh", "-c", script) for code in (3, 4))
    with waiting(box, first, second) as process:
        until(lambda: len(list((box.crate.root / "containers").glob("*/waited"))) == 2)
        box.crate.ok("stop", second)
        until(lambda: box.crate.ok("ps", "-aq", "--no-trunc") == first)
        box.crate.ok("stop", first)
        assert process.communicate(timeout=30) == (b"3\n4\n", b"")


def test_wait_leaves_no_file_behind(box) -> None:
    box.crate("run", "--name", "web", box.image, "true")
    box.crate.ok("wait", "web")
    assert not list((box.crate.root / "containers").glob("*/waited"))


def test_wait_for_what_is_not_there_goes_on_with_the_next(box) -> None:
    box.crate("run", "--name", "web", box.image, "sh", "-c", "exit 3")
    done = box.crate("wait", "nobody", "web")
    assert (done.returncode, done.stdout) == (1, "3\n")
    assert "no container nobody" in done.stderr


def test_wait_for_other_conditions(box) -> None:
    identity = box.create("--name", "web", "@", "sleep", "100")
    assert box.crate.ok("wait", "--condition", "created", "web") == "-1"
    running = waiting(box, "--condition=running", "-i", "20ms", "web")
    box.crate.ok("start", "web")
    assert running.communicate(timeout=30)[0] == b"-1\n"
    removed = waiting(box, "--condition=removed", "--interval=20ms", identity)
    box.crate.ok("rm", "-f", "web")
    out, err = removed.communicate(timeout=30)
    assert out == b"-1\n" or b"no container" in err  # where it was removed before it was looked for


def test_wait_for_the_next_exit_of_a_container_that_is_not_started_yet(box, until) -> None:
    name = box.create("sh", "-c", "trap 'exit 4' TERM; while :; do sleep 0.05; done")
    process = waiting(box, "--condition", "next-exit", "--interval", "10ms", name)
    box.crate.ok("start", name)
    until((box.crate.root / "containers" / name / "waited").exists)
    box.crate.ok("stop", name)
    assert process.communicate(timeout=30)[0] == b"4\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--condition", "gone"), "no such condition to wait for: gone"),
        (("--interval", "5"), "--interval is a duration, not 5"),
    ],
)
def test_words_that_wait_does_not_know(box, words, said) -> None:
    done = box.crate("wait", *words, box.create("true"))
    assert done.returncode in {1, 125}
    assert said in done.stderr


def test_a_time_limit_and_rm_are_told_to_who_waits(box) -> None:
    name = box.detached("--rm", "--timeout", "2", "@", "sleep", "100")
    assert box.crate.ok("wait", name, timeout=60) == "137"
    assert box.crate.ok("ps", "-aq") == ""
