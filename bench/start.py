"""How long `run --rm IMAGE true` takes without a network, image and caches warm, beside the other engines.

bench/start.py [--rounds N] [--write] [--only crate,podman] [--as root,user]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure

import peers
from support import people
from support.images import Image, busybox_image, write_docker_archive, write_oci_layout
from support.people import Person

NAME = "bench-busybox"
Maker = Callable[[Person, Path], peers.Engine]
ROOTFUL: dict[str, Maker] = {
    "crate": peers.Crate,
    "runc": lambda person, directory: peers.Bundle(person, directory, "runc"),
    "crun": lambda person, directory: peers.Bundle(person, directory, "crun"),
    "podman": peers.Podman,
    "docker": peers.Docker,
}
ROOTLESS: dict[str, Maker] = {"crate": peers.Crate, "podman": peers.Podman}


def measure_as(name: str, scratch: Path, image: Image, arguments: argparse.Namespace) -> str | None:
    """Measure as root or as the ordinary user; return the table, or None where nobody could be measured."""
    if reason := people.why_not(name):
        print(f"as {name}: {reason}")
        return None
    place = scratch / name
    place.mkdir(mode=0o755)
    person = people.person(name, place / "home")
    archive = write_docker_archive(place / "image.tar", f"{NAME}:latest", image)
    layout = write_oci_layout(place / "layout", {NAME: image})
    makers = ROOTFUL if name == "root" else ROOTLESS
    with prepared(makers, person, place, archive, layout, arguments.only) as engines:
        contestants = {engine.name: (lambda engine=engine: engine.run(NAME, "true")) for engine in engines}
        samples = measure.in_turn(contestants, arguments.rounds, warm=2)
        versions = [engine.version() for engine in engines]
    if not samples:
        return None
    return measure.table(samples, "ms") + "\n\n" + f"{arguments.rounds} rounds; " + "; ".join(versions) + "."


@contextmanager
def prepared(
    makers: dict[str, Maker], person: Person, place: Path, archive: Path, layout: Path, only: list[str]
) -> Iterator[list[peers.Engine]]:
    """Set up the engines that are here and give each the image; say who is missing and why. Behind it they end."""
    ready = []
    with ExitStack() as ending:
        for name, make in makers.items():
            if only and name not in only:
                continue
            try:
                engine = make(person, place / name)
                ending.callback(engine.end)
                engine.load(archive, layout, NAME)
            except peers.Absent as absent:
                print(f"  {name}: {absent}")
                continue
            ready.append(engine)
        yield ready


@contextmanager
def of_root(makers: dict[str, Maker], only: list[str]) -> Iterator[list[peers.Engine]]:
    """Yield root's engines that are here, each with the image; behind it they end, and what they stored is deleted."""
    scratch = Path(tempfile.mkdtemp(prefix="crate-bench-", dir="/var/tmp"))
    scratch.chmod(0o755)
    try:
        person, image = people.person("root", scratch / "home"), busybox_image()
        archive = write_docker_archive(scratch / "image.tar", f"{NAME}:latest", image)
        layout = write_oci_layout(scratch / "layout", {NAME: image})
        with prepared(makers, person, scratch, archive, layout, only) as engines:
            yield engines
    finally:
        remove(scratch)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="crate,runc,crun,podman,docker")
    parser.add_argument("--as", dest="people", type=lambda text: text.split(","), default=["root", "user"])
    arguments = parser.parse_args()
    measure.end_in_order()
    print(measure.machine())
    scratch = Path(tempfile.mkdtemp(prefix="crate-bench-", dir="/var/tmp"))
    scratch.chmod(0o755)
    image = busybox_image()
    try:
        for name in arguments.people:
            print(f"\nas {name}")
            text = measure_as(name, scratch, image, arguments)
            print(text or "nobody could be measured")
            if text and arguments.write:
                measure.write(f"start as {name}", f"{measure.machine()}.\n\n{text}")
    finally:
        remove(scratch)
    return 0


def remove(scratch: Path) -> None:
    """Delete what the engines stored; the user's files of other ids are root's to delete."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if str(scratch) in line and os.geteuid() == 0:
            os.spawnlp(os.P_WAIT, "umount", "umount", "-l", line.split()[4])
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
