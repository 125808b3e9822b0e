"""Convert bvlc_alexnet.npy and check that no number changed.

    python examples/convert_and_check.py bvlc_alexnet.npy --pictures PHOTOS

It takes ten seconds on two cores. The converted file has the same numbers as the .npy, to the bit. With
--pictures, a folder of pictures whose answers are published (see docs/checks.md), it prints the published
answers and those of your file.
"""

from absl import app, flags

import tfalexnet
from tfalexnet.io.terminal import silence_libraries
from tfalexnet.tools.compare import comparison_table
from tfalexnet.tools.verification import report_table

FLAGS = flags.FLAGS
flags.DEFINE_string("pictures", None, "Folder with sealion.jpeg, llama.jpeg, zebra.jpeg, or others.")


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("expected one argument, the .npy file")
    try:
        converted, _ = tfalexnet.convert(argv[1], overwrite=True)
        print(comparison_table(tfalexnet.diff(argv[1], str(converted))))
        if FLAGS.pictures:
            print(report_table(tfalexnet.verify([FLAGS.pictures], converted)))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    silence_libraries()  # Before TensorFlow is imported.
    app.run(main)
