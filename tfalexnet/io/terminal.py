"""The terminal: tables, bars, error lines, and the output of C libraries."""

import difflib
import os
import sys
import unicodedata
from collections.abc import Iterable, Sequence

LAYOUT = "\n\t"  # Of several lines.
INVISIBLE = "\u200c\u200d\u00ad"  # Joiners and the soft hyphen, which belong to words.


def format_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return rows of cells as lines of aligned columns; columns whose index is in `right` are right-aligned."""
    columns = []
    for index, column in enumerate(zip(*rows, strict=True)):
        width, side = max(map(len, column)), ">" if index in right else "<"
        columns.append([f"{cell:{side}{width}}" for cell in column])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def escape(text: str, allowed: str = "", limit: int | None = None) -> str:
    """Return a text of unknown origin for the terminal: characters that could control it become escapes.

    Spaces of any kind and the joiners of emoji and scripts stay.

    Args:
        text: the text.
        allowed: further characters that stay.
        limit: the number of characters after which the text is cut.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    kept = {*allowed, *INVISIBLE}
    return "".join(
        character
        if character.isprintable() or character in kept or unicodedata.category(character) == "Zs"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" with the known names that contain a name, else with the most similar; or nothing."""
    known = list(known)
    meant = [other for other in known if name and name.casefold() in other.casefold()]
    meant = meant[:3] or difflib.get_close_matches(name.casefold(), known, 1)
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def print_text(text: str) -> None:
    """Print lines on stdout, with other control characters escaped."""
    print(escape(text, LAYOUT))


def bar_character() -> str:
    """Return the block that bars are drawn with, or "#" if the encoding of stdout does not contain it."""
    try:
        "█".encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return "#"
    return "█"


def explain_os_error(error: Exception) -> str:
    """Return the message of an error, with the file's name in front for an error of the operating system."""
    prefix = f"{error.filename}: " if getattr(error, "filename", None) else ""
    return prefix + (getattr(error, "strerror", None) or str(error))


def print_error(message: str) -> None:
    """Print a line on stderr that starts with the program's name."""
    print(f"tfalexnet: {escape(message, LAYOUT)}", file=sys.stderr)


def discard_output() -> None:
    """Redirect stdout, whose reader has exited, to the null device, so that flushing it at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def silence_libraries() -> None:
    """Discard what the C libraries of TensorFlow and Pillow write to stderr.

    They write to file descriptor 2 whatever the log level. Python's `sys.stderr` is moved to a copy of the
    descriptor, so that Python's own messages are still shown. TF_CPP_MIN_LOG_LEVEL=0 in the environment
    leaves everything as it is.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        return
    terminal = os.dup(2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
