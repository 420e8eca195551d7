"""What is said of a container that is not there, and of one that could be several."""

from __future__ import annotations

import pytest

VERBS = (
    ["start"], ["stop"], ["restart"], ["kill"], ["pause"], ["unpause"], ["wait"], ["logs"], ["rm"], ["diff"], ["export"],
    ["top"], ["port"], ["stats", "--no-stream"], ["update", "--cpus", "1"],
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
def test_every_verb_says_the_same_of_a_name_that_is_not_there(root_box, verb: list[str]) -> None:
    root_box.create("--name", "webserver", "@", "true")
    done = root_box.crate(*verb, "webservr")
    assert done.returncode in (1, 125)
    lines = done.stderr.splitlines()
    assert lines[0].endswith(": no container webservr")
    assert lines[1] == "  hint: did you mean webserver? crate ps -a lists them"


def test_rm_with_force_says_so_and_has_not_failed(root_box) -> None:
    root_box.create("--name", "web", "@", "true")
    done = root_box.crate("rm", "-f", "gone", "web")
    assert (done.returncode, done.stdout) == (0, "web\n")
    assert "no container gone" in done.stderr
    assert root_box.crate("rm", "-f", "").returncode == 1


def test_a_name_whose_container_is_gone_is_not_proposed(root_box) -> None:
    (root_box.crate.root / "containers" / root_box.create("--name", "web", "@", "true")).rename(root_box.crate.root / "gone")
    assert root_box.crate.fails("start", "web").splitlines()[1] == "  hint: crate ps -a lists them"


def test_a_name_of_control_characters_is_shown_and_does_nothing(box) -> None:
    said = box.crate.fails("start", "a\x1b[2J b")
    assert said.splitlines()[0] == 'crate start: no container "a\\x1b[2J b"'
    assert box.crate.fails("start", "").splitlines()[0] == 'crate start: no container ""'


def test_a_beginning_that_several_ids_have_names_them(root_box) -> None:
    made = [root_box.create("--name", f"c{number}", "@", "true") for number in range(17)]  # two of them begin alike
    first = next(one[0] for one in made if sum(other[0] == one[0] for other in made) > 1)
    alike = [one for one in made if one[0] == first]
    lines = root_box.crate.fails("start", first).splitlines()
    assert lines[0] == f"crate start: container {first}: {len(alike)} containers have an ID that begins so"
    assert lines[1].startswith("  hint: give more of it: ")
    assert any(one[:12] in lines[1] for one in alike)


def test_a_name_may_have_the_slash_that_inspect_shows(box) -> None:
    identity = box.create("--name", "web", "@", "true")
    assert box.crate.ok("inspect", "-f", "{{.Id}}", box.crate.ok("inspect", "-f", "{{.Name}}", "web")) == identity
