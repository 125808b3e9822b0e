"""Rows of labelled pictures: expected, read back, compared, and interrupted at a chosen entry."""

import csv
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import tfalexnet
from tfalexnet import PictureError
from tfalexnet.inference import resume
from tfalexnet.inference.label import label
from tfalexnet.io.progress import Progress

SUFFIXES = (
    ".jsonl",
    ".csv",
    pytest.param(".parquet", marks=pytest.mark.skipif(not find_spec("pyarrow"), reason="no pyarrow")),
)
COUNT = 150  # Pictures, more than are prepared ahead; four of them cannot be read.
UNREADABLE = 4


def expected_row(file: str, top: int = 5) -> dict:
    """The answer of `predict` to one picture, as a row."""
    try:
        predictions = tfalexnet.predict(file, "cifar10", top)
    except PictureError as error:
        return {"file": file, "error": error.reason}
    return {"file": file, "predictions": [prediction._asdict() for prediction in predictions]}


def read_rows(output: Path | str) -> list[dict]:
    """The rows of a file of any format, read by the standard library or pyarrow."""
    output = Path(output)
    if output.suffix == ".jsonl":
        return [json.loads(line) for line in output.read_text("utf-8").split("\n")[:-1]]
    if output.suffix == ".csv":
        with output.open(encoding="utf-8", newline="") as file:
            return [row_of(record, empty="") for record in csv.DictReader(file)]
    records = pytest.importorskip("pyarrow.parquet").read_table(output).to_pylist()
    return [row_of(record, empty=None) for record in records]


def row_of(record: dict, empty: str | None) -> dict:
    """The row of a record with a column for each value."""
    if record["error"] != empty:
        assert all(record[name] == empty for name in record if name not in ("file", "error"))
        return {"file": record["file"], "error": record["error"]}
    predictions = [
        {
            "index": int(record[f"index_{rank}"]),
            "wnid": record[f"wnid_{rank}"] or None,
            "label": record[f"label_{rank}"],
            "score": float(record[f"score_{rank}"]),
        }
        for rank in range(1, (len(record) - 2) // 4 + 1)
    ]
    return {"file": record["file"], "predictions": predictions}


def assert_same(received: list[dict], expected: list[dict]) -> None:
    """Compare rows; the last digits of scores depend on the other pictures of a batch."""
    assert [row["file"] for row in received] == [row["file"] for row in expected]
    for row, other in zip(received, expected, strict=True):
        assert row.get("error") == other.get("error") and set(row) == set(other)
        for one, two in zip(row.get("predictions", []), other.get("predictions", []), strict=True):
            assert one == two | {"score": pytest.approx(two["score"], abs=1e-5)}, row["file"]
            assert list(one) == ["index", "wnid", "label", "score"]


def act_at(count: int, action: Callable[[], None]) -> type[Progress]:
    """A progress line that runs an action when so many pictures are done."""

    class Acting(Progress):
        def advance(self, *given):
            super().advance(*given)
            if self.count == count:
                action()

    return Acting


def interrupt(count: int, sources, output, error: type[BaseException] = KeyboardInterrupt, **given) -> Path:
    """Label, raise an error when so many files are done, and return the journal."""

    def fail():
        raise error

    with pytest.MonkeyPatch.context() as patch, pytest.raises(error):
        patch.setattr(resume, "Progress", act_at(count, fail))
        label(sources, output, **{"weights": "cifar10"} | given)
    part = Path(f"{output}.part")
    assert part.read_bytes().count(b"\n") == 1 + count
    return part
