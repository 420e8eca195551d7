"""How long save and load take, and what memory they need, beside podman and docker.

bench/archives.py [--shape small|large] [--part save,load,own] [--rounds N] [--write] [--only crate,podman,docker]

Loaded into empty stores is what docker writes, with plain layers ("load"); and what crate has saved, whose layers are
compressed ("own"). With the large image a part takes minutes: --part measures one at a time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from os import sync
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "tests"), str(Path(__file__).resolve().parent)]

import measure
import shapes
from start import NAME, ROOTFUL, prepared, remove

import peers
from support import people
from support.images import Image, write_docker_archive, write_oci_layout

MAKERS = {name: make for name, make in ROOTFUL.items() if name in ("crate", "podman", "docker")}


def saving(engine: peers.Engine, target: Path) -> Callable[[], measure.Command]:
    """Return what prepares a save of the image into a file that is not there."""

    def prepare() -> measure.Command:
        target.unlink(missing_ok=True)
        return engine.verb("save", "-o", str(target), engine.image(NAME))

    return prepare


def loading(engines: list[peers.Engine], path: Path) -> dict[str, Callable[[], measure.Command]]:
    """Return what prepares a load of the archive into an empty store, by engine."""
    return {engine.name: lambda engine=engine: engine.load_anew(path) for engine in engines}


def measure_shape(shape: str, image: Image, scratch: Path, arguments: argparse.Namespace) -> dict[str, str]:
    """Save and load `image` in turn with every engine, then once more for its memory; return the tables by what was done."""
    archive = write_docker_archive(scratch / "image.tar", f"{NAME}:latest", image)
    layout = write_oci_layout(scratch / "layout", {NAME: image})
    person = people.person("root", scratch / "home")
    with prepared(MAKERS, person, scratch, archive, layout, arguments.only) as engines:
        own = {engine.name: scratch / f"saved-by-{engine.name}.tar" for engine in engines}
        saves = {engine.name: saving(engine, own[engine.name]) for engine in engines}
        warm = 0 if shape == "large" else 1  # what one run leaves in the caches, the next has pushed out
        tables = {}
        if "save" in arguments.part:
            tables[f"save of the {shape} image"] = table(engines, saves, arguments.rounds, warm)
        if "load" in arguments.part:
            tables[f"load of the {shape} image"] = table(engines, loading(engines, archive), arguments.rounds, warm)
        if "own" in arguments.part and "crate" in own:
            measure.run(saves["crate"]())
            what = f"load of the {shape} image, as crate saves it"
            tables[what] = table(engines, loading(engines, own["crate"]), arguments.rounds, warm)
        versions = "; ".join(engine.version() for engine in engines)
    size = sum(len(layer.data) for layer in image.layers)
    about = f"{len(image.layers)} layers, {size / 1e6:.0f} MB compressed; {arguments.rounds} rounds; {versions}."
    return {what: f"{text}\n\n{about}" for what, text in tables.items()}


def table(engines: list[peers.Engine], contestants: dict[str, Callable[[], measure.Command]], rounds: int, warm: int) -> str:
    """Measure time in turn, then memory."""
    samples = measure.in_turn(contestants, rounds, warm=warm, between=sync)
    by_name = {engine.name: engine for engine in engines}
    for found in samples:
        command = contestants[found.name]()
        found.largest_process, found.all_processes = measure.memory_of(command, by_name[found.name].daemons)
    return measure.table(samples, "s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=lambda text: text.split(","), default=["small", "large"], help="small,large")
    parser.add_argument("--part", type=lambda text: text.split(","), default=["save", "load", "own"], help="save,load,own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="crate,podman,docker")
    arguments = parser.parse_args()
    if reason := people.why_not("root"):
        print(reason)
        return 1
    measure.end_in_order()
    print(measure.machine())
    for shape in arguments.shape:
        scratch = Path(tempfile.mkdtemp(prefix="crate-bench-", dir="/var/tmp"))
        scratch.chmod(0o755)
        try:
            for what, text in measure_shape(shape, shapes.SHAPES[shape](), scratch, arguments).items():
                print(f"\n{what}\n{text}")
                if arguments.write:
                    measure.write(what, f"{measure.machine()}.\n\n{text}")
        finally:
            remove(scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
