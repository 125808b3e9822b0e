"""TensorBoard's logs of a run."""

import functools
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfalexnet.figures.tiles import filters

EVENTS = "tensorboard"  # The sub-folder of a run.


class EventWriter:
    """Writes TensorBoard's summaries to a sub-folder of a run, without the package `tensorboard`.

    The file is created by the first summary.

    Args:
        folder: the folder of the run.
        writes: False on all workers but one.
    """

    def __init__(self, folder: Path, writes: bool) -> None:
        self.folder, self.writes = folder / EVENTS, writes

    @functools.cached_property
    def writer(self) -> tf.summary.SummaryWriter:
        """The writer of the file."""
        return tf.summary.create_file_writer(str(self.folder)) if self.writes else tf.summary.create_noop_writer()

    def write_scalars(self, step: int, **values: float) -> None:
        """Write numbers by name; raise `OSError` if the disk is full."""
        self._write(step, "scalars", {name: tf.constant(value, tf.float32) for name, value in values.items()})

    def write_filters(self, step: int, layer: str, kernel: np.ndarray) -> None:
        """Write the filters of a first convolution, (height, width, 1 or 3, filters); channels R, G, B.

        They are on the disk when this returns.
        """
        sheet = filters(kernel)
        height, width = map(str, sheet.shape[:2])
        self._write(step, "images", {layer: tf.stack([width, height, tf.io.encode_png(sheet)])}, flush=True)

    def _write(self, step: int, plugin: str, summaries: dict[str, tf.Tensor], flush: bool = False) -> None:
        metadata = tf.compat.v1.SummaryMetadata()
        metadata.plugin_data.plugin_name = plugin
        try:
            with self.writer.as_default():
                for name, value in summaries.items():
                    tf.summary.write(name, value, step, metadata)
            if flush:
                self.writer.flush()
        except tf.errors.OpError as error:
            reason = error.message.splitlines()[0].split(" [Op:")[0].split("; ")[-1]
            raise OSError(
                f"{self.folder}: TensorBoard's log cannot be written ({reason}). The last checkpoint is intact; free "
                "some space, then run the same command again."
            ) from None


def read_filters(folder: Path, layer: str) -> dict[int, np.ndarray]:
    """Return what `EventWriter.write_filters` wrote for a layer, by step; of a step that was repeated, the last."""
    sheets = {}
    for path in sorted((folder / EVENTS).glob("events.*")):
        try:
            for record in tf.data.TFRecordDataset(str(path)):
                event = tf.compat.v1.Event.FromString(record.numpy())
                for value in event.summary.value:
                    if value.tag == layer:
                        sheets[event.step] = tf.io.decode_png(tf.make_ndarray(value.tensor)[2]).numpy()
        except tf.errors.DataLossError:
            continue  # A killed process left its last record incomplete.
    return sheets
