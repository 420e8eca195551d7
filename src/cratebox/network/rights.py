"""What root's resolver may do: it reads what containers send, so it has the capabilities of a bystander,
save for the moments of need.

Always       CAP_DAC_READ_SEARCH  to reach its files below directories of others, which are root's own
For moments  CAP_SYS_ADMIN, CAP_SYS_PTRACE  setns(2) to the network namespace of a container, by pidfd
             CAP_NET_ADMIN        rules, there and of the machine
"""

from __future__ import annotations

from cratebox.linux import caps, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_ALWAYS = ("CAP_DAC_READ_SEARCH",)
_FOR_MOMENTS = ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN")


class Rights:
    """All others are given up for good, by whatever is executed too; `with rights` the process has these all.
    Raises OSError.
    """

    def __init__(self) -> None:
        process.set_no_new_privileges()
        _effective, permitted, _inheritable = caps.get()
        self._all = permitted & caps.mask(_ALWAYS + _FOR_MOMENTS)
        self._always = permitted & caps.mask(_ALWAYS)
        self._depth = 0
        caps.set_(self._always, self._all, 0)

    def __enter__(self) -> None:
        self._depth += 1
        caps.set_(self._all, self._all, 0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._depth -= 1
        if not self._depth:
            caps.set_(self._always, self._all, 0)
