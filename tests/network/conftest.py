"""A machine with networks, see support/netspaces.py; namespaces and a resolver, see support/resolving.py."""

from support.netspaces import net  # noqa: F401
from support.resolving import rig  # noqa: F401
