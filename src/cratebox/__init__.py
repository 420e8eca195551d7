"""cratebox: pull images, make containers from them and run them, with root and without, with no daemon.

    import cratebox

    engine = cratebox.Engine()
    engine.images.pull("alpine")
    code = engine.containers.run(cratebox.ContainerConfig(image="alpine", command=("echo", "hello"), remove=True))

The public names are these, and every error is a `CrateError` with `message`, `hint` and `exit_code`. They are resolved when
first used: importing the package alone costs nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.engine.committing import Wish as _CommitWish
    from cratebox.engine.config import ContainerConfig as ContainerConfig
    from cratebox.engine.config import DeviceLimit as DeviceLimit
    from cratebox.engine.config import HealthCheck as HealthCheck
    from cratebox.engine.config import Limits as Limits
    from cratebox.engine.config import MountWish as MountWish
    from cratebox.engine.config import Namespaces as Namespaces
    from cratebox.engine.config import Ulimit as Ulimit
    from cratebox.engine.engine import Engine as Engine
    from cratebox.engine.execution import Wanted as _Wanted
    from cratebox.engine.importing import Wish as _ImportWish
    from cratebox.engine.records import Container as Container
    from cratebox.engine.records import ContainerStatus as ContainerStatus
    from cratebox.engine.volumes import Volume as Volume
    from cratebox.errors import Conflict as Conflict
    from cratebox.errors import CrateError as CrateError
    from cratebox.errors import NotFound as NotFound
    from cratebox.image.lists import Details as _Details
    from cratebox.paths import Paths as Paths
    from cratebox.paths import locate as locate

    CommitConfig, ExecConfig, ImportConfig, ManifestDetails = _CommitWish, _Wanted, _ImportWish, _Details

# Where each public name comes from, and what it is called there.
_PUBLIC = {
    **{
        name: ("cratebox.engine.config", name)
        for name in ("ContainerConfig", "DeviceLimit", "HealthCheck", "Limits", "MountWish", "Namespaces", "Ulimit")
    },
    "Engine": ("cratebox.engine.engine", "Engine"),
    "CommitConfig": ("cratebox.engine.committing", "Wish"),
    "ExecConfig": ("cratebox.engine.execution", "Wanted"),
    "ImportConfig": ("cratebox.engine.importing", "Wish"),
    "ManifestDetails": ("cratebox.image.lists", "Details"),
    "Volume": ("cratebox.engine.volumes", "Volume"),
    "Container": ("cratebox.engine.records", "Container"),
    "ContainerStatus": ("cratebox.engine.records", "ContainerStatus"),
    **{name: ("cratebox.errors", name) for name in ("Conflict", "CrateError", "NotFound")},
    "Paths": ("cratebox.paths", "Paths"),
    "locate": ("cratebox.paths", "locate"),
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'cratebox' has no attribute {name!r}")
    import importlib

    module, known = _PUBLIC[name]
    return getattr(importlib.import_module(module), known)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
