"""How long a pull from a local registry into an empty store takes, and what memory it needs, beside the other engines.

bench/pull.py [--shape small|large|wide|huge] [--again] [--rounds N] [--write] [--only crate,podman]

With --again: of what is there already.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure
import shapes
from start import Maker, remove

import peers
from support import people
from support.images import Image
from support.registry import Registry

PULLERS: dict[str, Maker] = {
    "crate": peers.Crate,
    "podman": peers.Podman,
    "docker": peers.Docker,
    "containerd": peers.Containerd,
    "skopeo": peers.Skopeo,
}


def measure_shape(shape: str, image: Image, scratch: Path, arguments: argparse.Namespace) -> str:
    """Pull `image` in turn with every engine, then once more for its memory; return the table."""
    person = people.person("root" if os.geteuid() == 0 else "user", scratch / "home")
    with ExitStack() as ending, Registry(scratch / "registry") as registry:
        engines = ready(person, scratch, arguments.only)
        for engine in engines:
            ending.callback(engine.end)
        reference = registry.push(f"bench/{shape}", "latest", image)
        if arguments.again:
            engines = [engine for engine in engines if engine.name in ("crate", "podman", "docker")]
            for engine in engines:
                peers.call(engine.pull(reference))
        contestants = {engine.name: (lambda engine=engine: engine.pull(reference, again=arguments.again)) for engine in engines}
        # What one engine wrote must be on the disk before the next is measured. Nothing is deleted until the end:
        # after a large deletion ext4 writes several times slower.
        samples = measure.in_turn(contestants, arguments.rounds, warm=1, between=os.sync)
        add_memory(samples, engines, reference, arguments.again)
        versions = [engine.version() for engine in engines]
    size = sum(len(layer.data) for layer in image.layers)
    about = f"{len(image.layers)} layers, {size / 1e6:.0f} MB compressed; {arguments.rounds} rounds; "
    return measure.table(samples, "ms" if arguments.again else "s") + "\n\n" + about + "; ".join(versions) + "."


def add_memory(samples: list[measure.Samples], engines: list[peers.Engine], reference: str, again: bool) -> None:
    by_name = {engine.name: engine for engine in engines}
    for found in samples:
        engine = by_name[found.name]
        command = engine.pull(reference, again=again)
        found.largest_process, found.all_processes = measure.memory_of(command, engine.daemons)


def ready(person: people.Person, scratch: Path, only: list[str]) -> list[peers.Engine]:
    found = []
    for name, make in PULLERS.items():
        if only and name not in only:
            continue
        try:
            found.append(make(person, scratch / name))
        except peers.Absent as absent:
            print(f"  {name}: {absent}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=lambda text: text.split(","), default=["small", "large"], help="small,large,wide,huge")
    parser.add_argument("--again", action="store_true", help="pull what is there already")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="crate,podman,docker,containerd,skopeo")
    arguments = parser.parse_args()
    measure.end_in_order()
    print(measure.machine())
    for shape in arguments.shape:
        image = shapes.SHAPES[shape]()
        section = f"pull of the {shape} image" + (" that is there already" if arguments.again else "")
        scratch = Path(tempfile.mkdtemp(prefix="crate-bench-", dir="/var/tmp"))
        scratch.chmod(0o755)
        try:
            print(f"\n{section}")
            text = measure_shape(shape, image, scratch, arguments)
            print(text)
            if arguments.write:
                measure.write(section, f"{measure.machine()}.\n\n{text}")
        finally:
            remove(scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
