"""Which devices a container may open beside those that its spec allows (config-linux.md, Default Devices).

The specification has every container find /dev/null and its like, terminals among them, and engines leave them out of
linux.resources.devices, since runc allows them in any case. The machine's own console (5:1) is not among them.
"""

from __future__ import annotations

import os

from cratebox.cgroup.model import DeviceRule, Resources

_NOTHING = DeviceRule(allow=False)
_DEFAULT = (
    DeviceRule(allow=True, type="c", access="m"),  # a node may be made of what cannot be opened
    DeviceRule(allow=True, type="b", access="m"),
    *(
        DeviceRule(allow=True, type="c", major=major, minor=minor)
        for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, None))
    ),
)


def with_default_devices(resources: Resources | None, driver: str) -> Resources | None:
    """Return the resources of a container whose cgroup the driver of that name makes.

    A spec that says nothing about devices allows none but these, where it is root who creates the container.
    """
    rules = resources.devices if resources else ()
    if not rules:
        if os.geteuid() or driver == "disabled":
            return resources
        rules = (_NOTHING,)
    last = rules[-1]
    if last.allow and last.type == "a" and last.access == "rwm" and {last.major, last.minor} <= {None, -1}:
        return resources  # all of them
    return (resources or Resources()).replace(devices=(*rules, *_DEFAULT))
