"""Bundles for crate-oci, see support/bundles.py."""

from support.bundles import root_oci, rootfs_template  # noqa: F401
