"""Namespaces and a resolver, see support/resolving.py."""

from support.resolving import rig  # noqa: F401
