"""print, println and printf as Go's package fmt has them."""

from __future__ import annotations

from cratebox.cli.template.values import MISSING, kind_of, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WIDEST = 10_000


def go_print(*values: Any) -> str:
    """fmt.Sprint: a space stands between two values of which neither is a string."""
    text = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            text += " "
        text += shown(value)
    return text


def go_println(*values: Any) -> str:
    """fmt.Sprintln."""
    return " ".join(map(shown, values)) + "\n"


def printf(form: str, *values: Any) -> str:
    """fmt.Sprintf, with the verbs v s q d x X o b c t f e g and %%, flags, widths and precisions. A value that a verb cannot
    show is told in the text, as Go does: %!d(string=a).
    """
    if not isinstance(form, str):
        raise TypeError(form)
    text, rest = "", list(values)
    pieces = form.split("%")
    text = pieces.pop(0)
    while pieces:
        piece = pieces.pop(0)
        if not piece and pieces:  # %%
            text += "%" + pieces.pop(0)
            continue
        shown_as, after = _verb(piece, rest)
        text += shown_as + after
    if rest:
        text += f"%!(EXTRA {', '.join(f'{kind_of(one)}={shown(one)}' for one in rest)})"
    return text


def _verb(piece: str, rest: list[Any]) -> tuple[str, str]:
    length = 0
    while length < len(piece) and piece[length] in "+-# 0123456789.":
        length += 1
    options, verb, after = piece[:length], piece[length : length + 1], piece[length + 1 :]
    if not verb:
        return "%!(NOVERB)", after
    if not rest:
        return f"%!{verb}(MISSING)", after
    return _padded(_form(verb, options, rest.pop(0)), options), after


def _precision(options: str) -> int | None:
    _, point, digits = options.partition(".")
    return min(int(digits or "0"), _WIDEST) if point and (digits or "0").isdigit() else None


def _padded(text: str, options: str) -> str:
    flags_and_width = options.partition(".")[0]
    digits = flags_and_width.lstrip("+-# 0")
    width = min(int(digits), _WIDEST) if digits.isdigit() else 0
    flags = flags_and_width[: len(flags_and_width) - len(digits)]
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and (text[1:] if text[:1] in "+-" else text).replace(".", "").isdigit():
        return text.zfill(width)
    return text.rjust(width)


def _form(verb: str, options: str, value: Any) -> str:
    number = isinstance(value, int) and not isinstance(value, bool)
    precision = _precision(options)
    sign = "+" if "+" in options else ""
    if verb == "v":
        return shown(value)
    if verb in "sq" and isinstance(value, str):
        cut = value if precision is None else value[:precision]
        return cut if verb == "s" else _quoted(cut)
    if verb in "sq" and isinstance(value, (list, tuple)):
        return f"[{' '.join(_form(verb, options, one) for one in value)}]"
    if verb == "d" and isinstance(value, (list, tuple)):
        return f"[{' '.join(_form(verb, options, one) for one in value)}]"
    if verb in "dxXob" and number:
        return format(value, sign + verb)
    if verb in "xX" and isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").hex() if verb == "x" else value.encode().hex().upper()
    if verb == "c" and number:
        return chr(value) if 0 <= value < 0x110000 else "\ufffd"
    if verb == "t" and isinstance(value, bool):
        return shown(value)
    if verb in "feEgG" and isinstance(value, float):
        return format(value, f"{sign}.{6 if precision is None else precision}{verb}")
    if value is None or value is MISSING:
        return f"%!{verb}(<nil>)"
    return f"%!{verb}({kind_of(value)}={shown(value)})"


def _quoted(text: str) -> str:
    from cratebox.jsontext import dumps

    return dumps(text)
