"""The folder of a run: what is trained with what, where it is, how it went, what came out."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfalexnet.figures.kernels import filters

EVENTS = "tensorboard"


class EventWriter:
    """TensorBoard's summaries in a folder of the run, in the plain form that needs no package of its own.

    The file is there from the first of them on. Each call brings what it notes to the disk, and raises
    OSError where that is full.
    """

    def __init__(self, folder: Path, writes: bool) -> None:
        self.folder, self.writes = folder / EVENTS, writes

    @functools.cached_property
    def writer(self) -> tf.summary.SummaryWriter:
        """Of the file."""
        return tf.summary.create_file_writer(str(self.folder)) if self.writes else tf.summary.create_noop_writer()

    def scalars(self, step: int, **values: float) -> None:
        """Figures by name."""
        with self._writing(), self.writer.as_default():
            for name, value in values.items():
                _summary(name, tf.constant(value, tf.float32), step, "scalars")

    def epoch(self, row: dict[str, float], kernel: np.ndarray) -> None:
        """The row's figures, and the filters of the first convolution, R, G, B."""
        step = int(row["step"])
        figures_of = {"epoch_loss" if name == "loss" else name: value for name, value in row.items()}
        self.scalars(step, **{name: value for name, value in figures_of.items() if name not in ("epoch", "step")})
        sheet = filters(kernel)
        height, width = sheet.shape[:2]
        with self._writing(), self.writer.as_default():
            png = tf.io.encode_png(sheet)
            _summary("conv1", tf.stack([tf.as_string(width), tf.as_string(height), png]), step, "images")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0].split(" [Op:")[0].split("; ")[-1]
            raise OSError(
                f"{self.folder}: TensorBoard's log cannot be written ({reason}). The last checkpoint is kept; make "
                "room, and start again with the same command."
            ) from None


def _summary(name: str, value: tf.Tensor, step: int, plugin: str) -> None:
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = plugin
    tf.summary.write(name, value, step, metadata)
