"""Images of many layers: one call of the kernel's takes few of their names, and another more."""

from __future__ import annotations

import pytest

from support.images import Image, Tree


@pytest.mark.parametrize("count", [16, 60, 127])
def test_an_image_of_many_layers_runs_without_a_copy(crate, build, busybox_base, count) -> None:
    layers = tuple(Tree().file(f"file{n}", "x").file("top", str(n)).layer() for n in range(count - 1))
    image = build(f"layers{count}", Image(busybox_base.layers + layers, busybox_base.config))
    done = crate("run", "--rm", "--network", "host", str(image), "sh", "-c", "cat /top; echo; ls / | grep -c file")
    assert (done.returncode, done.stdout.split()) == (0, [str(count - 2), str(count - 1)])
    assert "copy" not in done.stderr
