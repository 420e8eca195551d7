"""docker-py reads crate's documents as Docker's own."""

from __future__ import annotations

import pytest

from support.commands import Crate
from support.ready import Ready

containers = pytest.importorskip("docker.models.containers", reason="docker-py is not installed")
images = pytest.importorskip("docker.models.images")


@pytest.fixture
def box(root_box: Ready) -> Crate:
    root_box.detached("--name", "web", "--label", "a=b", "@", "sleep", "100")
    return root_box.crate


def test_a_container_is_one_of_docker_py(box: Crate) -> None:
    (document,) = box.json("inspect", "web")  # type: ignore[misc]
    container = containers.Container(attrs=document)
    assert container.id == document["Id"]
    assert (container.name, container.status, container.labels) == ("web", "running", {"a": "b"})
    assert (container.health, container.ports) == ("unknown", {})
    assert container.attrs["State"]["Pid"] > 0


def test_an_image_is_one_of_docker_py(box: Crate) -> None:
    (document,) = box.json("image", "inspect", box.ok("images", "-q"))  # type: ignore[misc]
    image = images.Image(attrs=document)
    assert image.short_id == document["Id"][:19]
    assert (image.tags, image.labels) == ([], {})
