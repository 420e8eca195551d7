"""The secrets of a container that is about to start: files for its mounts, variables for its process."""

from __future__ import annotations

from cratebox.engine import made_mounts
from cratebox.engine.config import SecretWish
from cratebox.engine.idmaps import Identity
from cratebox.engine.secrets import Secrets, environment
from cratebox.paths import Paths
from cratebox.runtime.spec import Spec


def give(paths: Paths, identity: Identity, wished: tuple[SecretWish, ...], spec: Spec) -> tuple[Spec, dict[str, int]]:
    """Return the spec with the variables, and a mount of each file by its destination.

    Raises NotFound, InvalidValue, StorageError, RuntimeFailure.
    """
    assert spec.process
    spec = spec.replace(process=spec.process.replace(env=(*spec.process.env, *environment(paths, wished))))
    store = Secrets(paths)
    files = tuple((one, store.data(store.get(one.name))) for one in wished if one.kind == "mount")
    if not files:
        return spec, {}
    mounts = made_mounts.secret_files(files, identity)
    return spec, {one.target: fd for (one, _), fd in zip(files, mounts, strict=True)}
