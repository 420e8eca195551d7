"""Bundles for crate-oci, see support/bundles.py."""

from support.bundles import oci, root_oci, rootfs_template  # noqa: F401
from support.canary import canary  # noqa: F401
