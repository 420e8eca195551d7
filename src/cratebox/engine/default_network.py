"""The network of a container of which nobody says which: CRATE_NETWORK, else what the settings say, else `DEFAULT`.

The settings: a table [networks] with default = "none", or another network.
"""

from __future__ import annotations

import os

from cratebox.engine.config import check_network
from cratebox.errors import InvalidValue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cratebox.paths import Paths

DEFAULT = "bridge"
_MOST = 1 << 20  # bytes


def of(paths: Paths) -> str:
    """Return bridge, host, none, or the name of a network. Raises InvalidValue, Unsupported."""
    text = os.environ.get("CRATE_NETWORK") or _of_settings(paths.config) or DEFAULT
    return _checked("bridge" if text == "default" else text)


def _checked(text: str) -> str:
    if ":" in text:
        raise InvalidValue(f"the default network cannot be {text!a}", "bridge, host, none, or the name of a network")
    return check_network(text)


def _of_settings(path: str) -> str:
    """Return what config.toml says. Reading TOML takes long: a file that has no word of it is not read as such."""
    try:
        with open(path, "rb") as file:
            raw = file.read(_MOST)
    except OSError:
        return ""  # what is wrong with it, the commands tell that need it
    if b"networks" not in raw:
        return ""
    import tomllib

    try:
        table = tomllib.loads(raw.decode()).get("networks", {})
    except ValueError as error:
        raise InvalidValue(f"{path} is not TOML: {error}") from None
    if not isinstance(table, dict) or table.keys() - {"default"} or not isinstance(table.get("default", ""), str):
        raise InvalidValue(f"{path}: [networks] is a table with one text, default", 'as default = "host"')
    return str(table.get("default", ""))
