"""The journal of events: many writers, hostile words, a full disk, readers that follow."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cratebox.engine import event_log, events
from cratebox.engine.event_log import Event
from cratebox.engine.records import Container, ContainerConfig
from cratebox.errors import InvalidValue, Unsupported
from cratebox.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path), str(tmp_path), str(tmp_path))


def read(paths: Paths, *filters: str, since: int = 0, until: int | None = None) -> list[Event]:
    """What the journal has by now."""
    end = time.time_ns() if until is None else until
    pieces = event_log.read(paths, since, end, event_log.parse_filters(filters))
    return [event for some in pieces for event in some]


def names(found: list[Event]) -> list[str]:
    return [event.attributes.get("name", "") for event in found]


def test_an_event_is_read_as_it_was_written(paths: Paths) -> None:
    before = time.time_ns()
    events.emit(paths, "container", "die", "a" * 64, {"name": "web", "exitCode": "3", "ü\n": "\x1b[2J\udcff"})
    (event,) = read(paths)
    assert before <= event.when <= time.time_ns()
    assert (event.kind, event.action, event.id) == ("container", "die", "a" * 64)
    assert event.attributes == {"name": "web", "exitCode": "3", "ü\n": "\x1b[2J\udcff"}


def test_the_journal_is_plain_ascii(paths: Paths) -> None:
    events.emit(paths, "image", "pull", "alpine\n\x1b", {"name": "ü\0"})
    raw = Path(paths.root, "events", "journal").read_bytes()
    assert raw.count(b"\n") == 2
    assert all(32 <= byte < 127 or byte == 10 for byte in raw)


def test_labels_beyond_reason_are_left_out(paths: Paths) -> None:
    labels = {f"label{number}": "x" * 100_000 for number in range(10_000)}
    container = Container(
        id="a" * 64, name="web", created=0.0, image="i", image_id="", config=ContainerConfig(image="i", labels=labels)
    )
    events.emit(paths, "container", "create", container.id, events.of_container(container))
    (event,) = read(paths)
    assert (event.attributes["name"], event.attributes["image"]) == ("web", "i")
    assert Path(paths.root, "events", "journal").stat().st_size < 65536


def test_a_label_takes_no_attributes_place(paths: Paths) -> None:
    config = ContainerConfig(image="i", labels={"name": "liar", "image": "liar", "exitCode": "liar"})
    container = Container(id="a" * 64, name="web", created=0.0, image="i", image_id="", config=config)
    events.emit(paths, "container", "die", container.id, {**events.of_container(container), "exitCode": "0"})
    assert read(paths)[0].attributes == {"name": "web", "image": "i", "exitCode": "0"}


@pytest.mark.parametrize("root", ["/dev/full", "/proc/nowhere", "/dev/null/x"])
def test_where_nothing_can_be_written_nothing_fails(root: str) -> None:
    events.emit(Paths(root, root, root), "container", "start", "a", {})


def test_what_a_killed_writer_left_half_harms_nobody(paths: Paths) -> None:
    events.emit(paths, "container", "start", "a", {"name": "one"})
    with Path(paths.root, "events", "journal").open("ab") as file:
        file.write(b'\n{"timeNano":1,"Type":"conta')
    events.emit(paths, "container", "start", "a", {"name": "two"})
    assert names(read(paths)) == ["one", "two"]


DAMAGES = (
    b"[]",
    b"1",
    b"\xff",
    b"{" * 100_000,
    b'{"timeNano":"x"}',
    b'{"timeNano":1,"Type":1,"Action":"","ID":"","Attributes":{}}',
    b'{"timeNano":1,"Type":"","Action":"","ID":"","Attributes":{"a":1}}',
    b'{"timeNano":1,"Type":"","Action":"","ID":"","Attributes":[]}',
)


@pytest.mark.parametrize("line", DAMAGES)
def test_a_damaged_line_is_passed_over(paths: Paths, line: bytes) -> None:
    events.emit(paths, "container", "start", "a", {"name": "one"})
    with Path(paths.root, "events", "journal").open("ab") as file:
        file.write(line + b"\n")
    assert names(read(paths)) == ["one"]


def _write(root: str, writer: int, count: int, seen: Any) -> None:
    events.MOST = 100_000
    deadline = time.monotonic() + 60
    for number in range(count):
        while 8 * number > seen.value + 320 and time.monotonic() < deadline:
            time.sleep(0.002)  # two files are all there is: a follower that gets no turn would lose what is in a third
        events.emit(Paths(root, root, root), "container", "start", "a" * 64, {"name": f"{writer}-{number}"})


def test_eight_writers_at_once_lose_and_tear_nothing_before_a_follower(paths: Paths) -> None:
    """The journal becomes the old one several times meanwhile."""
    context = multiprocessing.get_context("fork")
    seen: list[Event] = []
    count = context.Value("i", 0)
    events.emit(paths, "container", "start", "a", {"name": "first"})
    end = [time.time_ns() + 120 * 10**9]

    def follow() -> None:
        for some in event_log.read(paths, 0, end[0], event_log.parse_filters([])):
            seen.extend(some)
            count.value = len(seen)
            if any(event.attributes["name"] == "last" for event in some):
                return

    reader = threading.Thread(target=follow)
    writers = [context.Process(target=_write, args=(paths.root, number, 300, count)) for number in range(8)]
    for process in writers:
        process.start()
    reader.start()
    for process in writers:
        process.join()
        assert process.exitcode == 0
    events.emit(paths, "container", "start", "a", {"name": "last"})
    reader.join()
    found = names(seen)
    assert found[0] == "first"
    assert sorted(found[1:-1]) == sorted(f"{writer}-{number}" for writer in range(8) for number in range(300))
    for writer in range(8):
        own = [name for name in found if name.startswith(f"{writer}-")]
        assert own == [f"{writer}-{number}" for number in range(300)]


def test_the_journal_is_bounded(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST", 5000)
    for number in range(500):
        events.emit(paths, "container", "start", "a", {"name": str(number)})
    kept = names(read(paths))
    assert kept == [str(number) for number in range(500 - len(kept), 500)]
    assert sum(file.stat().st_size for file in Path(paths.root, "events").iterdir()) < 10_400
    assert sorted(os.listdir(paths.root + "/events")) in (["journal", "journal.1"], ["journal.1"])


def _filled(paths: Paths) -> None:
    web = {"name": "web", "image": "registry:5000/alpine:3.20", "tier": "front"}
    for action in ("create", "start", "health_status: healthy", "die", "destroy"):
        events.emit(paths, "container", action, "a1" * 32, web)
    events.emit(paths, "container", "start", "b2" * 32, {"name": "db", "image": "postgres"})
    events.emit(paths, "image", "pull", "postgres:16", {"name": "postgres:16"})


@pytest.mark.parametrize(("filters", "count"), [
    ((), 7), (("type=image",), 1), (("type=container", "event=start"), 2), (("event=start", "event=die"), 3),
    (("event=health_status",), 1), (("event=health_status: healthy",), 1), (("container=web",), 5), (("container=a1a1",), 5),
    (("container=web", "container=db"), 6), (("container=web", "event=die"), 1), (("image=postgres",), 2),
    (("image=registry:5000/alpine",), 5), (("image=registry:5000/alpine:3.20",), 5), (("label=tier",), 5),
    (("label=tier=front",), 5), (("label=tier", "label=none"), 0), (("type=volume",), 0),
])  # fmt: skip
def test_filters(paths: Paths, filters: tuple[str, ...], count: int) -> None:
    _filled(paths)
    assert len(read(paths, *filters)) == count


def test_a_time(paths: Paths) -> None:
    _filled(paths)
    third = read(paths)[2].when
    assert [event.action for event in read(paths, since=third)][:2] == ["health_status: healthy", "die"]
    assert [event.action for event in read(paths, until=third)] == ["create", "start", "health_status: healthy"]


@pytest.mark.parametrize("text", ["", "colour=red", "type"])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="filter"):
        event_log.parse_filters([text])


def test_what_crate_has_no_events_of_is_refused() -> None:
    with pytest.raises(Unsupported, match="secret"):
        event_log.parse_filters(["secret=data"])


def test_from_now_on_is_without_what_was_before(paths: Paths) -> None:
    events.emit(paths, "container", "start", "a", {"name": "before"})
    pieces = event_log.read(paths, None, time.time_ns() + 10 * 10**9, event_log.parse_filters([]))
    threading.Timer(0.2, events.emit, (paths, "container", "start", "a", {"name": "after"})).start()
    assert names(next(pieces)) == ["after"]
    pieces.close()
