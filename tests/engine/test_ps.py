"""crate ps of real containers, as root and as an ordinary user."""

from __future__ import annotations

import json
import re


def names(box, *words: str) -> list[str]:
    return box.crate.ok("ps", *words, "--format", "{{.Names}}").split()


def test_ps_shows_what_runs_and_all_shows_what_does_not(box, until) -> None:
    box.crate.ok("run", "-d", "--name", "up", box.image, "sleep", "100")
    box.crate("run", "--name", "ended", box.image, "sh", "-c", "exit 3")
    box.create("--name", "made", "@", "true")
    assert names(box) == ["up"]
    assert names(box, "-a") == ["made", "ended", "up"]
    assert names(box, "-n", "2") == ["made", "ended"]
    assert names(box, "-l") == ["made"]
    assert names(box, "--filter", "status=exited") == ["ended"]
    assert names(box, "-a", "--filter", "exited=3") == ["ended"]
    assert names(box, "-a", "-f", "before=ended") == ["up"]
    assert names(box, "-a", "-f", f"ancestor={box.image[:12]}") == ["made", "ended", "up"]
    status = dict(line.split(" ", 1) for line in box.crate.ok("ps", "-a", "--format", "{{.Names}} {{.Status}}").splitlines())
    assert re.fullmatch(r"Up (Less than a second|\d+ seconds?)", status["up"])
    assert re.fullmatch(r"Exited \(3\) (Less than a second|\d+ seconds?) ago", status["ended"])
    assert status["made"] == "Created"


def test_ps_tells_labels_mounts_and_networks(box) -> None:
    box.create("--name", "made", "--label", "a=1", "--label", "b", "--network", "none", "-v", "/etc:/mnt:ro", "@", "true")
    assert names(box, "-a", "-f", "label=a=1", "-f", "label=b", "-f", "volume=/mnt", "-f", "network=none") == ["made"]
    document = json.loads(box.crate.ok("ps", "-a", "--format", "json"))
    assert (document["Labels"], document["Mounts"], document["Networks"]) == ("a=1,b=", "/etc", "none")
    assert list(document) == sorted(document)
    assert json.loads(box.crate.ok("ps", "-a", "--format", "{{json .}}")).keys() == document.keys()
    assert box.crate.ok("ps", "-a", "--format", '{{.Label "a"}}{{.Label "none"}}') == "1"
    table = box.crate.ok("ps", "-a", "--format", 'table {{.Names}}\\t{{.Label "com.example.the-tier"}}\\t{{.Label "a"}}')
    assert [line.split() for line in table.splitlines()] == [["NAMES", "the", "tier", "a"], ["made", "1"]]


def test_a_wrong_filter_is_one_line_and_125(box) -> None:
    assert "no such filter: nope" in box.crate.fails("ps", "--filter", "nope=1")
    assert "no container nobody" in box.crate.fails("ps", "--filter", "since=nobody")


def test_a_damaged_container_is_dead_and_has_its_name(root_box) -> None:
    identity = root_box.create("--name", "broken", "@", "true")
    (root_box.crate.root / "containers" / identity / "container.json").write_text("{")
    assert root_box.crate.ok("ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}") == "broken dead Dead"


def test_sizes_are_measured_where_they_are_asked_for(box) -> None:
    box.crate.ok("run", "--name", "big", box.image, "dd", "if=/dev/zero", "of=/big", "bs=1000", "count=100")
    size = r"100kB \(virtual [\d.]+MB\)"
    assert "SIZE" not in box.crate.ok("ps", "-a")
    assert re.search(size + "$", box.crate.ok("ps", "-as"))
    assert re.fullmatch(size, box.crate.ok("ps", "-a", "--format", "{{.Size}}"))
