"""`crate system check`: whether all that crate has written is as it was written, and what helps where it is not.

The files of a container are looked at here, those of the store in image/verifying.py. What other commands make or remove
meanwhile is no damage: it is looked at by its last name alone, and one that vanishes is not missed. What killed commands left
is no damage either, but garbage (leftovers.py).
"""

from __future__ import annotations

import os
import stat
from functools import partial

from cratebox import record_file
from cratebox.engine import ending, name_links, records
from cratebox.engine.config import check_name
from cratebox.engine.exits import Exit
from cratebox.engine.leftovers import is_id
from cratebox.engine.vanishing import delete_tree
from cratebox.engine.watching import Watching
from cratebox.errors import Conflict, CrateError, InvalidValue, NotFound, StorageError
from cratebox.image.verifying import Damage, Verifier, mode_of
from cratebox.paths import Paths
from cratebox.record import Record
from cratebox.runtime import state as runtime_state
from cratebox.runtime.spec import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cratebox.engine.images import Images
    from cratebox.engine.records import Container

_REPAIR = "crate system check --repair"
# What belongs to a container besides its record, and is made again where it is missing.
_FILES = ("lock", "edit.lock", "log", "hosts", "hostname", "resolv.conf", "stopped", "exit.reserve")
_DIRECTORIES = ("rootfs", "rw", "rw/upper", "rw/work")
_ROUNDS = 4  # what is repaired may show what was hidden by it


class Checked(Record):
    """What is damaged still, and a line for each thing that was repaired."""

    damages: tuple[Damage, ...]
    repaired: tuple[str, ...] = ()


class Wish(Record):
    """`repair` what can be; with `remove` containers that cannot be repaired go. `quick` does not read what is large."""

    repair: bool = False
    remove: bool = False
    quick: bool = False


def check(paths: Paths, images: Images, wish: Wish) -> Checked:
    """Look at everything, repair what can be, and look again. It raises nothing for damage of any kind."""
    repaired: list[str] = []
    for _ in range(_ROUNDS if wish.repair else 1):
        found = list(_damages(paths, images, wish))
        done = [_mended(one) for one in found if wish.repair and one.mend is not None]
        repaired += (line for line in done if line)
        if not any(done):
            break
    return Checked(tuple(found), tuple(repaired))


def _mended(damage: Damage) -> str:
    """Repair it; return what was done, "" where that failed: the damage is told then."""
    assert damage.mend is not None
    try:
        return f"{damage.subject}: {damage.mend()}"
    except (CrateError, OSError):
        return ""


def _damages(paths: Paths, images: Images, wish: Wish) -> Iterator[Damage]:
    for each in (
        _places(paths),
        _containers(paths, images, wish),
        _names(paths),
        _volumes(paths, images),
        _networks(paths, images),
        _store(paths, images, wish),
    ):
        try:
            yield from each
        except CrateError as error:
            yield Damage("crate", error.message, error.hint or _REPAIR)
        except OSError as error:
            yield Damage("crate", f"cannot read {error.filename}: {error.strerror}", "see to the rights of that directory")


# Directories of crate itself


def _places(paths: Paths) -> Iterator[Damage]:
    for path in (paths.containers, f"{paths.root}/names", paths.cache, f"{paths.root}/events", paths.running):
        if os.path.lexists(path) and not stat.S_ISDIR(mode_of(path)):
            yield Damage("crate", f"{path} is not a directory", _REPAIR, partial(_delete_file, path))
    journal = f"{paths.root}/events/journal"
    for path in (journal, journal + ".1"):
        if os.path.lexists(path) and not stat.S_ISREG(mode_of(path)):
            yield Damage("crate", f"{path} is not a file", _REPAIR, partial(_delete_file, path))


def _delete_file(path: str) -> str:
    """Delete what is in the place of something else: an empty directory at most."""
    if stat.S_ISDIR(mode_of(path)):
        os.rmdir(path)
    else:
        os.unlink(path)
    return f"deleted {path}"


# Containers


def _containers(paths: Paths, images: Images, wish: Wish) -> Iterator[Damage]:
    if not os.path.isdir(paths.containers):
        return
    for identity in filter(is_id, sorted(os.listdir(paths.containers))):
        where = records.directory(paths, identity)
        if not stat.S_ISDIR(mode_of(where)):
            if os.path.lexists(where):
                yield Damage(f"container {identity[:12]}", f"{where} is not a directory", _REPAIR, partial(_delete_file, where))
            continue
        yield from _container(paths, images, identity, wish)


def _container(paths: Paths, images: Images, identity: str, wish: Wish) -> Iterator[Damage]:
    where = records.directory(paths, identity)
    name = name_links.name_of(paths, identity) or identity[:12]
    subject = f"container {name}"
    try:
        container = records.load(paths, identity)
        _check_record(container, identity, where)
    except NotFound:
        return  # removed meanwhile
    except StorageError as error:
        yield _beyond_repair(paths, images, identity, f"container {name}", error.message, wish)
        return
    alive = _is_alive(paths, identity)
    yield from _state(paths, identity, subject, name, alive)
    if not alive:
        yield from _files(images, where, subject)
    yield from _name(paths, container)
    yield from _image(images, container, subject)


def _is_alive(paths: Paths, identity: str) -> bool:
    """Tell whether somebody has it in hand, as far as what is left of it tells."""
    try:
        if records.is_locked(records.directory(paths, identity)):
            return True
    except StorageError:
        pass  # the lock is none
    try:
        return records.running_state(paths, identity) is not None
    except StorageError:
        return False


def _check_record(container: Container, identity: str, where: str) -> None:
    if container.id != identity:
        raise StorageError(f"damaged: {where}/container.json is that of another container")
    try:
        check_name(container.name)
    except InvalidValue as error:
        raise StorageError(f"damaged: {where}/container.json: {error.message}") from None


def _beyond_repair(paths: Paths, images: Images, identity: str, subject: str, problem: str, wish: Wish) -> Damage:
    """Without its record nobody knows what a container is. Its files may still be worth something to somebody."""

    def remove() -> str:
        ending.remove(paths, images, identity, force=True)
        return "removed, for its record was lost"

    upper = f"{records.directory(paths, identity)}/rw/upper"
    return Damage(
        subject, problem, f"what it wrote is in {upper}; crate rm -f {identity[:12]}", remove if wish.remove else None
    )


def _state(paths: Paths, identity: str, subject: str, name: str, alive: bool) -> Iterator[Damage]:
    """What its process and its supervisor have written. While it runs, only its end helps."""
    where, directory = f"{paths.running}/{identity}", records.directory(paths, identity)
    readers = (
        (f"{where}/state.json", lambda: _read_state(where)),
        (f"{where}/watch.json", lambda: record_file.read(f"{where}/watch.json", Watching)),
        (f"{directory}/exit.json", lambda: record_file.read(f"{directory}/exit.json", Exit)),
        (f"{directory}/config.json", lambda: record_file.read(f"{directory}/config.json", Spec)),
    )
    for path, read in readers:
        try:
            read()
        except StorageError as error:
            if alive:
                yield Damage(subject, error.message, f"crate rm -f {name}")
            elif path.endswith("state.json"):
                yield Damage(subject, error.message, _REPAIR, partial(_forget, where))
            else:
                yield Damage(subject, error.message, _REPAIR, partial(_delete_file, path))


def _read_state(where: str) -> None:
    try:
        runtime_state.load(where)
    except NotFound:
        pass  # it does not run


def _forget(where: str) -> str:
    runtime_state.forget(where)
    return f"deleted {where}"


def _files(images: Images, where: str, subject: str) -> Iterator[Damage]:
    """What a start wants to find, or to make anew."""
    for name in _FILES:
        path = f"{where}/{name}"
        if os.path.lexists(path) and not stat.S_ISREG(mode_of(path)):
            yield Damage(subject, f"{path} is not a file", _REPAIR, partial(_delete_file, path))
    if stat.S_ISDIR(mode_of(where + "/copy")):
        return
    for name in _DIRECTORIES:
        path = f"{where}/{name}"
        if stat.S_ISDIR(mode_of(path)):
            continue
        problem = f"{path} is not a directory" if os.path.lexists(path) else f"{path} is gone"
        if name == "rw/upper":
            problem += ", and with it what it has written"
        yield Damage(subject, problem, _REPAIR, partial(_make_directory, images, path))
        if name == "rw":
            return


def _make_directory(images: Images, path: str) -> str:
    if os.path.lexists(path):
        os.unlink(path)
    if path.endswith("/upper") and os.path.lexists(path[: -len("upper")] + "work"):
        delete_tree(images.identity, path[: -len("upper")] + "work")  # the kernel ties the two together
    for one in (path, *([path + "/upper", path + "/work"] if path.endswith("/rw") else [])):
        os.mkdir(one, 0o700 if one.endswith("/rw") else 0o755)
        if one.endswith("/upper"):
            os.chmod(one, 0o755)  # noqa: S103  whatever the umask: it is / of the container
    return f"made {path} anew"


def _name(paths: Paths, container: Container) -> Iterator[Damage]:
    holder = name_links.holder_of(paths, container.name)
    if holder == container.id:
        return
    taken = holder is not None and os.path.isdir(records.directory(paths, holder))
    problem = (
        f"its name {container.name} leads to container {holder[:12]}"
        if taken and holder
        else f"its name {container.name} is lost"
    )

    def claim() -> str:
        name_links.claim(paths, container.name, container.id)
        return f"its name {container.name} leads to it again"

    remedy = f"crate rename {container.id[:12]} NAME, or crate rm {container.id[:12]}" if taken else _REPAIR
    yield Damage(f"container {container.id[:12]}", problem, remedy, None if taken else claim)


def _image(images: Images, container: Container, subject: str) -> Iterator[Damage]:
    if container.rootfs:
        if not os.path.isdir(container.rootfs):
            yield Damage(subject, f"its directory {container.rootfs} is gone", f"make it again, or crate rm {container.name}")
        return
    try:
        images.store.find(container.image_id)
    except (NotFound, Conflict):
        if images.damaged():
            return  # it may be one of these, which is told of the image
        yield Damage(
            subject, f"its image {container.image} is gone", f"crate pull {container.image}, or crate rm {container.name}"
        )
    except StorageError:
        pass  # which is told of the image


def _names(paths: Paths) -> Iterator[Damage]:
    where = f"{paths.root}/names"
    if not stat.S_ISDIR(mode_of(where)):
        return
    for name in sorted(os.listdir(where)):
        path = f"{where}/{name}"
        if not stat.S_ISLNK(mode_of(path)) and os.path.lexists(path):
            yield Damage(f"name {name}", f"{path} is not a symlink", _REPAIR, partial(_delete_file, path))


def _networks(paths: Paths, images: Images) -> Iterator[Damage]:
    from cratebox.engine import checking_networks

    yield from checking_networks.damages(paths, images.identity.rootless)


def _volumes(paths: Paths, images: Images) -> Iterator[Damage]:
    from cratebox.engine import checking_volumes

    yield from checking_volumes.damages(paths, images.identity)


# The store


def _store(paths: Paths, images: Images, wish: Wish) -> Iterator[Damage]:
    used: set[str] = set()
    busy: set[str] = set()
    for identity in records.identities(paths):
        try:
            container = records.load(paths, identity)
        except CrateError:
            continue
        mounts = container.config.mounts
        used |= {container.image_id, *(one.image for one in mounts if one.image)}
        if _is_alive(paths, identity):
            busy |= {*container.layers, *(layer for one in mounts for layer in one.layers)}
    yield from Verifier(images.store, used, busy, images.refetch, quick=wish.quick).damages()
