"""Two trees that should be alike, of any depth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cratebox.image.tree_comparing import first_difference

NAME = "d" * 250
DEPTH = 40  # 10,000 characters: more than twice what a path for the kernel can have


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The descriptors of two deep trees that are alike."""
    opened = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        opened.append(os.open(tmp_path / name, os.O_RDONLY))
        os.close(deepest(opened[-1], make=True))
    yield opened[0], opened[1]
    for fd in opened:
        os.close(fd)


def deepest(root: int, make: bool = False) -> int:
    fd = os.dup(root)
    for _ in range(DEPTH):
        if make:
            os.mkdir(NAME, dir_fd=fd)
        deeper = os.open(NAME, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    return fd


def test_trees_deeper_than_a_path_are_alike(trees: tuple[int, int]) -> None:
    assert first_difference(*trees) == ""


def test_a_difference_at_the_bottom_of_a_deep_tree_is_found(trees: tuple[int, int]) -> None:
    bottom = deepest(trees[1])
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=bottom))
    os.close(bottom)
    assert first_difference(*trees) == f"/{'/'.join([NAME] * DEPTH)}/file is gone"
