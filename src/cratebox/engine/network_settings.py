"""What the settings say of networks: the table [networks].

[networks]
default = "none"                a container's network, where nobody says which: CRATE_NETWORK comes before it, `DEFAULT` behind
keep_client_addresses = true    containers of an ordinary user see who asks for their published ports (network/usermode.py)
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


def default(paths: Paths) -> str:
    """Return bridge, host, none, or the name of a network. Raises InvalidValue, Unsupported."""
    text = os.environ.get("CRATE_NETWORK") or _settings(paths.config)[0] or DEFAULT
    return _checked("bridge" if text == "default" else text)


def keeps_clients(paths: Paths) -> bool:
    """Tell whether containers are to see their clients' own addresses, which those of root always do. Raises InvalidValue."""
    return _settings(paths.config)[1]


def _checked(text: str) -> str:
    if ":" in text:
        raise InvalidValue(f"the default network cannot be {text!a}", "bridge, host, none, or the name of a network")
    return check_network(text)


def _settings(path: str) -> tuple[str, bool]:
    """Reading TOML takes long: a file that has no word of networks is not read as such."""
    try:
        with open(path, "rb") as file:
            raw = file.read(_MOST)
    except OSError:
        return "", False  # what is wrong with it, the commands tell that need it
    if b"networks" not in raw:
        return "", False
    from cratebox.image import toml_file

    fields = toml_file.Fields(path, (toml_file.read(path) or {}).get("networks", {}), "networks")
    found = fields.text("default"), bool(fields.flag("keep_client_addresses"))
    fields.end()
    return found
