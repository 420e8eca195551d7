"""`crate history`, `image tree`, `image diff`, `image exists`, `image inspect`, `images`: what is told of images."""

from __future__ import annotations

import json

import pytest

from support.images import CREATED, Image, Tree

BASE = Tree().directory("etc", "proc", "home").file("etc/motd", "hello\n").file("etc/old", "x" * 1000).layer()
CHANGED = Tree().file("etc/motd", "goodbye\n").file("etc/.wh.old", "").file("new", "y" * 10).layer()
OTHER = Tree().file("etc/other", "z" * 20).layer()
HISTORY = (
    {"created": CREATED, "created_by": "/bin/sh -c #(nop) ADD file:0123456789abcdef in /\t"},
    {"created": CREATED, "created_by": "CMD x", "empty_layer": True},
    {"created_by": "COPY", "comment": "mine"},
    {"created": "no time", "created_by": "ENV A=b", "empty_layer": True},
)


@pytest.fixture
def images(crate, build):  # type: ignore[no-untyped-def]
    """A crate with the image `base`, and `up` and `other` built upon it."""
    for name, made in {
        "base": Image((BASE,), {"Labels": {"tier": "low"}}),
        "up": Image((BASE, CHANGED), {"OnBuild": ["RUN true"], "Labels": {"tier": "high"}}, history=HISTORY),
        "other": Image((BASE, OTHER)),
    }.items():
        crate.ok("pull", "-q", build(name, made).docker_archive)
    return crate


def test_history_gives_each_layer_to_the_step_that_made_it(images) -> None:
    rows = [json.loads(row) for row in images.ok("history", "--format", "json", "--human=false", "up").splitlines()]
    assert [(row["CreatedBy"], row["Size"], row["Comment"]) for row in rows] == [
        ("ENV A=b", "0", ""),
        ("COPY", "18", "mine"),
        ("CMD x", "0", ""),
        ("/bin/sh -c #(nop) ADD file:0123456789abcdef …", "1006", ""),
    ]
    assert [row["CreatedSince"] for row in rows] == ["N/A", "N/A", "2024-05-01T12:00:00Z", "2024-05-01T12:00:00Z"]


def test_only_the_last_step_has_an_id(images) -> None:
    identity = images.ok("image", "inspect", "-f", "{{.Id}}", "up")
    assert images.ok("history", "-q", "--no-trunc", "up").split() == [identity, *["<missing>"] * 3]


def test_history_is_dockers_table(images) -> None:
    head, first, *_ = images.ok("history", "base").splitlines()
    assert head == "IMAGE          CREATED       CREATED BY   SIZE      COMMENT"
    assert first.split()[1:] == ["2", "years", "ago", "layer", "0", "1.01kB"]


@pytest.mark.parametrize(("steps", "sizes"), [(0, ["18", "1006"]), (1, ["18", "1006"]), (3, ["0", "18", "1006"])])
def test_a_history_that_tells_of_other_layers_than_there_are_is_shown_as_far_as_it_goes(crate, build, steps, sizes) -> None:
    history = tuple({"created_by": f"step {number}"} for number in range(steps))
    crate.ok("pull", "-q", build("odd", Image((BASE, CHANGED), history=history)).docker_archive)
    assert crate.ok("history", "--human=false", "--format", "{{.Size}}", "odd").split() == sizes


def test_an_escape_sequence_in_a_command_is_inert(crate, build) -> None:
    crate.ok("pull", "-q", build("bad", Image((BASE,), history=({"created_by": "\x1b[2Jx"},))).docker_archive)
    for form in ((), ("--format", "{{.CreatedBy}}"), ("--format", "json")):
        assert "\x1b" not in crate.ok("history", *form, "bad")


def test_a_step_of_the_last_second_there_is_can_be_shown_everywhere(crate, build) -> None:
    last = ({"created": "9999-12-31T23:59:59Z"},)
    crate.ok("pull", "-q", build("late", Image((BASE,), history=last)).docker_archive)
    shown = crate.ok("history", "--human=false", "--format", "{{.CreatedAt}}", "late", env={"TZ": "Asia/Tokyo"})
    assert shown.strip() == "9999-12-31T23:59:59Z"


def test_history_of_another_platform_is_refused(images) -> None:
    assert "not for linux/s390x" in images.fails("history", "--platform", "linux/s390x", "base")


def test_a_tree_shows_what_images_share(images) -> None:
    lines = images.ok("image", "tree", "up").splitlines()
    assert lines[1:4] == ["Tags:     [docker.io/library/up:latest]", "Size:     1.02kB", "Image Layers"]
    assert lines[4].startswith(f"├── ID: {BASE.diff_id[7:19]} Size: 1.01kB Top Layer of: [docker.io/library/base:latest] ")
    assert lines[4].endswith("Also in: [docker.io/library/other:latest]")
    assert lines[5] == f"└── ID: {CHANGED.diff_id[7:19]} Size: 18B Top Layer of: [docker.io/library/up:latest]"


def test_a_tree_of_what_is_built_upon_an_image_is_nested(images, build) -> None:
    images.ok("pull", "-q", build("upper", Image((BASE, CHANGED, OTHER))).docker_archive)
    lines = images.ok("image", "tree", "--whatrequires", "base").splitlines()[4:]
    assert [(line.split("ID:")[0], line.split(":")[-2].rpartition("/")[2]) for line in lines] == [
        ("├── ", "up"),
        ("│   └── ", "upper"),
        ("└── ", "other"),
    ]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("up",), ["C /etc", "C /etc/motd", "D /etc/old", "A /new"]),
        (("up", "base"), ["C /etc", "C /etc/motd", "D /etc/old", "A /new"]),
        (("base", "up"), ["C /etc", "C /etc/motd", "A /etc/old", "D /new"]),
        (("up", "other"), ["C /etc", "C /etc/motd", "D /etc/old", "D /etc/other", "A /new"]),
        (("base", "base"), []),
        (("base",), ["A /etc", "A /etc/motd", "A /etc/old", "A /home", "A /proc"]),
    ],
)
def test_a_diff_of_images_has_a_line_for_each_change(images, words, lines) -> None:
    assert images.ok("image", "diff", *words).splitlines() == lines


def test_a_diff_of_images_as_json_is_podmans(images) -> None:
    assert images.json("image", "diff", "--format", "json", "up") == {
        "changed": ["/etc", "/etc/motd"],
        "added": ["/new"],
        "deleted": ["/etc/old"],
    }


def test_exists_says_it_by_its_exit_code_alone(images) -> None:
    there, not_there = images("image", "exists", "up"), images("image", "exists", "nobody")
    assert (there.returncode, there.stdout, there.stderr) == (0, "", "")
    assert (not_there.returncode, not_there.stdout, not_there.stderr) == (1, "", "")


def test_inspect_tells_where_the_layers_lie(images) -> None:
    (found,) = images.json("image", "inspect", "up")
    places = [f"{images.root}/images/layers/{layer.diff_id[7:]}/fs" for layer in (BASE, CHANGED)]
    assert found["GraphDriver"]["Data"] == {"LowerDir": places[0], "UpperDir": places[1]}
    assert found["Config"]["OnBuild"] == ["RUN true"]
    assert found["Descriptor"]["digest"] == found["Metadata"]["ManifestDigest"]


def test_a_second_pull_of_a_name_leaves_the_time_it_got_it(images, build) -> None:
    before = images.ok("image", "inspect", "-f", "{{.Metadata.LastTagTime}}", "base")
    images.ok("pull", "-q", build("base", Image((BASE,), {"Labels": {"tier": "low"}})).docker_archive)
    assert images.ok("image", "inspect", "-f", "{{.Metadata.LastTagTime}}", "base") == before > "2026"


def test_images_of_a_time_and_label_are_listed(images) -> None:
    assert set(images.ok("images", "-f", "until=24h", "--format", "{{.Repository}}").split()) == {"base", "up", "other"}
    assert images.ok("images", "-q", "-f", "until=2024-05-01T12:00:00Z") == ""
    assert images.ok("images", "-f", "label=tier=high", "--format", "{{.Repository}}") == "up"
    assert "--filter until is a time" in images.fails("images", "-f", "until=yesterday")


@pytest.mark.parametrize("words", [("history",), ("image", "tree"), ("image", "diff"), ("image", "diff", "up")])
def test_what_is_not_there_is_told_in_one_line(images, words) -> None:
    assert images.fails(*words, "nobody").splitlines()[0].endswith(": image nobody: not in the store")
