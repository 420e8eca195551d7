"""--filter: how its words are read, and which containers it means."""

from __future__ import annotations

import pytest

from cratebox.engine import selection
from cratebox.engine.filters import parse
from cratebox.engine.mounts import MountWish
from cratebox.engine.records import ContainerStatus
from cratebox.errors import InvalidValue, NotFound, Unsupported
from cratebox.network.model import Port


def container(name: str, **changes: object) -> ContainerStatus:
    known: dict[str, object] = {
        "id": name[0] * 64, "name": name, "image": "alpine", "image_id": "sha256:1", "command": (), "created": 1.0,
        "status": "running", "network": "none",
    }  # fmt: skip
    return ContainerStatus(**(known | changes))


WEB = container(
    "web", labels={"tier": "front", "ci": ""}, health="healthy", created=3.0, started_at=3.0, network="front",
    networks=("front", "back"), ports=(Port(80, "tcp", 8080),),
)  # fmt: skip
DB = container(
    "db", status="exited", exit_code=3, started_at=2.0, created=2.0, network="host", image="postgres", image_id="sha256:2"
)
JOB = container(
    "job-1", status="created", exit_code=3, created=1.0, exposed=("53/udp",),
    mounts=(MountWish(kind="bind", source="/data", target="/mnt"),),
)  # fmt: skip
ALL = [WEB, DB, JOB]


def get(name: str) -> ContainerStatus:
    for one in ALL:
        if name == one.name:
            return one
    raise NotFound(name)


def image_id(name: str) -> str:
    if name == "pg":
        return "sha256:2"
    raise NotFound(name)


def selected(*words: str) -> list[str]:
    return [one.name for one in selection.select(ALL, parse(words, selection.KEYS, selection.LATER), get, image_id)]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["id=w"], ["web"]),
        (["id=" + "d" * 64], ["db"]),
        (["id="], []),
        (["name=e"], ["web"]),
        (["name=b"], ["web", "db", "job-1"]),
        (["name=^/?db$"], ["db"]),
        (["name=^web|^job"], ["web", "job-1"]),
        (["name=web", "name=db"], ["web", "db"]),
        (["label=ci"], ["web"]),
        (["label=tier=front"], ["web"]),
        (["label=tier=back"], []),
        (["label=ci", "label=tier"], ["web"]),
        (["label=ci", "label=other"], []),
        (["status=exited"], ["db"]),
        (["status=exited", "status=created"], ["db", "job-1"]),
        (["status=exited", "name=web"], []),
        (["exited=3"], ["db"]),
        (["exited=0"], []),
        (["ancestor=alpine"], ["web", "job-1"]),
        (["ancestor=pg"], ["db"]),
        (["ancestor=nothing"], []),
        (["before=web"], ["db", "job-1"]),
        (["since=db"], ["web"]),
        (["before=web", "since=job-1"], ["db"]),
        (["health=healthy"], ["web"]),
        (["health=none"], ["db", "job-1"]),
        (["network=host"], ["db"]),
        (["network=front"], ["web"]),
        (["network=back", "network=host"], ["web", "db"]),
        (["publish=80"], ["web"]),
        (["publish=80/udp"], []),
        (["publish=70-90/tcp"], ["web"]),
        (["expose=53/udp"], ["job-1"]),
        (["expose=80"], ["web"]),
        (["volume=/data"], ["job-1"]),
        (["volume=/mnt"], ["job-1"]),
        (["is-task=true"], []),
        (["is-task=false"], ["web", "db", "job-1"]),
    ],
)  # fmt: skip
def test_a_filter_means(words: list[str], names: list[str]) -> None:
    assert selected(*words) == names


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("colour=red", "no such filter: colour"),
        ("name", "not a filter: name"),
        ("status=up", "--filter status cannot be up"),
        ("health=ill", "--filter health cannot be ill"),
        ("exited=one", "--filter exited is a whole number"),
        ("is-task=maybe", "--filter is-task is true or false"),
        ("name=a[", "not a regular expression"),
        ("col\x1bour=red", "no such filter: col"),
    ],
)
def test_a_wrong_filter_is_told(word: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        selected(word)
    assert message in caught.value.message
    assert "\x1b" not in caught.value.message


def test_what_is_not_there_on_linux_is_refused() -> None:
    with pytest.raises(Unsupported, match="--filter isolation: there is none on Linux"):
        selected("isolation=default")


def test_the_container_to_compare_with_must_be_there() -> None:
    with pytest.raises(NotFound):
        selected("before=nobody")


def test_labels_may_be_asked_to_be_absent() -> None:
    filters = parse(["label!=keep"], ("label", "label!"))
    assert filters.labels({"x": "1"})
    assert not filters.labels({"keep": "1"})
