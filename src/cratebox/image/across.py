"""Running work in another process by way of `run_inside`, and getting its errors back as what they were."""

from __future__ import annotations

from cratebox import errors, jsontext
from cratebox.errors import CrateError, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    # Runs the callable in a process that may chown to all ids of the map, and returns what it returned.
    RunInside = Callable[[Callable[[], bytes]], bytes]


def call_directly(work: Callable[[], bytes]) -> bytes:
    """The `run_inside` of a store whose files all belong to the caller, or whose caller is root."""
    return work()


def run(run_inside: RunInside, work: Callable[[], None]) -> None:
    """Run `work` through `run_inside`. Raises what it raises, and StorageError where its process ended without a word."""

    def say_nothing() -> bytes:
        work()
        return b""

    call(run_inside, say_nothing)


def call(run_inside: RunInside, work: Callable[[], bytes]) -> bytes:
    """Run `work` through `run_inside` and return what it returns. Raises as `run`."""
    if run_inside is call_directly:
        return work()
    told, _, answer = run_inside(lambda: _answer(work)).partition(b"\n")
    try:
        failed, kind, message, hint = jsontext.loads(told)
    except (jsontext.JSONError, ValueError, TypeError):
        raise StorageError("the process that works on the files of layers ended without an answer") from None
    if failed:
        raise getattr(errors, kind)(message, hint)
    return answer


def _answer(work: Callable[[], bytes]) -> bytes:
    try:
        return b'[false,"","",null]\n' + work()
    except CrateError as error:
        # A room may have kinds of its own; what crosses is the one of errors.py that they are.
        kind = next(each.__name__ for each in type(error).__mro__ if getattr(errors, each.__name__, None) is each)
        return jsontext.dumps([True, kind, error.message, error.hint]).encode()
    except Exception as error:  # noqa: BLE001  the process ends with this answer; a traceback there would reach nobody
        return jsontext.dumps(
            [True, "CrateError", f"work in the user namespace failed: {type(error).__name__}: {error}", None]
        ).encode()
