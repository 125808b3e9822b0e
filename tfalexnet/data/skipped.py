"""The record of training pictures that cannot be read."""

from dataclasses import dataclass, field

from tfalexnet.data.labelled import Labelled
from tfalexnet.images.folders import check_folder_present
from tfalexnet.images.opening import PictureError

LISTED = 10  # A report names at most this many files.


@dataclass
class Skipped:
    """The files that could not be read so far.

    Attributes:
        strict: whether the first such file ends the training.
        reasons: why each file could not be read, by its path.
        error: the error that ended the training.
        reported: whether `news` has returned the first file.
    """

    strict: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
    error: PictureError | NotADirectoryError | None = None
    reported: bool = False

    def add(self, error: PictureError) -> None:
        """Record a file.

        Raises:
            PictureError: `strict` is set.
            NotADirectoryError: the folder of the file is missing or empty, with or without `strict`.
        """
        try:
            check_folder_present(error.name, ())
            if self.strict:
                raise error
        except (PictureError, NotADirectoryError) as fatal:
            self.error = fatal  # Before the reason: another thread may call `news` at any moment.
            raise
        finally:
            self.reasons[error.name] = error.reason

    def news(self) -> str:
        """Return a line about the first file, once; an empty string before it, afterwards and after an error."""
        if self.reported or not self.reasons or self.error is not None:
            return ""
        self.reported = True
        return _line(*next(iter(self.reasons.items())))

    def restore(self, reasons: dict[str, str]) -> None:
        """Add the files of an interrupted run, for `report` and `readable`."""
        self.reasons.update(reasons)
        self.reported |= bool(reasons)

    def readable(self, data: Labelled) -> int:
        """Return the number of pictures that are not known to be unreadable."""
        return len(data) - sum(str(picture) in self.reasons for picture in data.pictures if self.reasons)

    def report(self, files: int) -> str:
        """Return the number of unreadable files, of `files` in all, and the first of them by name.

        The string is empty if all could be read, and after an error.
        """
        if not self.reasons or self.error is not None:
            return ""
        count, first = len(self.reasons), sorted(self.reasons.items())[:LISTED]
        more = [f"… and {count - LISTED:,} more"] if count > LISTED else []
        return "\n".join([f"{count:,} of {files:,} files could not be read", *(_line(*item) for item in first), *more])


def _line(name: str, reason: str) -> str:
    return f"left out {name}: {reason}"
