"""Time and memory to read 244 MB of weights in every format, compared with numpy.load and torch.load.

    python benchmarks/reading.py

It takes two minutes on two idle cores and prints a table. Random weights of the shapes of bvlc_alexnet, for
PyTorch of one_weird_trick, are written in each format. A process for each reads the file from the page cache.
The result is contiguous float32 arrays, whose numbers are all read once; a mapped file counts as the result.
Time is from the call to the result, without imports, the median of --rounds. Memory is the peak of the
process beyond its imports and its result, as a multiple of the 244 MB of the numbers. `pip install torch`
adds torch.load, `pip install onnx` the file that `tfalexnet export` writes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from absl import app, flags

from tfalexnet import ARCHITECTURES, Architecture
from tfalexnet.checkpoints.checkpoint import FORMATS, Checkpoint, write_checkpoint
from tfalexnet.checkpoints.exported import describe_export
from tfalexnet.checkpoints.formats import Contents, state_dict
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.exporters import onnx
from tfalexnet.networks.spec import Parameters

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 3, "Number of processes for each time.", lower_bound=1)

SECONDS, ONNX_SECONDS, MEMORY = 3, 2, 1.3  # The goals for each format.

# Share of the weights that Deep Compression keeps in each layer: S. Han et al., "Learning both Weights and Connections
# for Efficient Neural Networks", NIPS 2015, table 4.
REMAINING = {"conv1": 0.84, "conv2": 0.38, "conv3": 0.35, "conv4": 0.37, "conv5": 0.37, "fc6": 0.09, "fc7": 0.09}
REMAINING |= {"fc8": 0.25}

# File, reader, its imports, and an expression for its arrays.
OURS = (
    "tfalexnet",
    "from tfalexnet.checkpoints.checkpoint import read_checkpoint",
    "flat(read_checkpoint(path).parameters.values())",
)
NUMPYS_NPY = "flat(np.load(path, allow_pickle=True, encoding='latin1').item().values())"
READERS = [
    *((f"bvlc_alexnet{suffix}", *OURS) for suffix in FORMATS if suffix != ".pth"),
    ("one_weird_trick.pth", *OURS),
    ("bvlc_alexnet.npy", "numpy.load", "", NUMPYS_NPY),
    ("bvlc_alexnet.npz", "numpy.load", "", "np.load(path).values()"),
    ("one_weird_trick.pth", "torch.load", "import torch", "map(np.asarray, torch.load(path, mmap=False).values())"),
]
READ = """
import sys, time
import numpy as np
{imports}
flat = lambda pairs: (array for pair in pairs for array in pair)
def memory(field):  # Not ru_maxrss, which a child inherits from the process that started it.
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(field))
path = sys.argv[1]
before, start = memory("VmRSS"), time.perf_counter()
arrays = [np.ascontiguousarray(array, np.float32) for array in {arrays}]
assert np.isfinite(sum(array.sum() for array in arrays))
seconds = time.perf_counter() - start
result = sum(array.nbytes for array in arrays)
print(seconds, memory("VmHWM") - before - result, result)
"""


def random_parameters(net: Architecture) -> Parameters:
    generator = np.random.default_rng(2012)
    return {
        name: tuple(generator.standard_normal(shape, np.float32) * np.float32(0.01) for shape in shapes)
        for name, shapes in net.parameter_shapes().items()
    }


def compressed(parameters: Parameters) -> Parameters:
    """Return weights like those of Deep Compression: mostly 0, and few different values."""
    generator = np.random.default_rng(2012)
    weights = {}
    for name, (kernel, bias) in parameters.items():
        codes = generator.integers(1, 256 if kernel.ndim == 4 else 16, kernel.shape, np.uint8)
        codes *= generator.random(kernel.shape, np.float32) < REMAINING[name]
        weights[name] = codes * np.float32(0.001), bias
    return weights


def write(folder: Path) -> None:
    """Write a file in every format, with PyTorch for its own and with the package for the others."""
    net = ARCHITECTURES["bvlc_alexnet"]
    parameters = random_parameters(net)
    spec = ModelSpec(net, PREPROCESSING[net.name], ())
    for suffix, module in FORMATS.items():
        if hasattr(module, "write"):
            weights = compressed(parameters) if suffix == ".net" else parameters
            write_checkpoint(folder / f"{net.name}{suffix}", Checkpoint(weights, spec))
    try:
        description = describe_export(spec, "float32", "NCHW")
        onnx.write(folder / f"{net.name}.onnx", Checkpoint(parameters, spec), description, "float32")
    except ValueError as error:
        print(f"{net.name}.onnx: not measured. {error}", flush=True)
    try:
        import torch
    except ImportError:
        print("one_weird_trick.pth: not measured, pip install torch", flush=True)
        return
    net = ARCHITECTURES["one_weird_trick"]
    arrays = state_dict.arrays(Contents(random_parameters(net), {"architecture": net.name}))
    state = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    torch.save(state, folder / f"{net.name}.pth")


def measured(path: Path, imports: str, arrays: str) -> tuple[float, float]:
    """Return seconds, and memory beyond the result as a multiple of it: medians of processes."""
    code = READ.format(imports=imports, arrays=arrays)
    outputs = []
    for _ in range(FLAGS.rounds):
        run = subprocess.run([sys.executable, "-c", code, path], stdout=subprocess.PIPE, check=True, text=True)
        seconds, beyond, result = map(float, run.stdout.split())
        outputs.append((seconds, max(beyond, 0) / result))
    seconds, beyond = zip(*outputs, strict=True)
    return statistics.median(seconds), statistics.median(beyond)


def main(_: list[str]) -> None:
    lines = [
        f"| file | MB | read by | s (goal < {SECONDS}; .onnx < {ONNX_SECONDS}) "
        f"| memory beyond the result, × (goal < {MEMORY}) |",
        "|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        for file, reader, imports, arrays in READERS:
            path = folder / file
            if path.exists():
                seconds, beyond = measured(path, imports, arrays)
                size = path.stat().st_size / 1e6
                lines.append(f"| {file} | {size:.1f} | {reader} | {seconds:.2f} | {beyond:.2f} |")
    print("\n".join(lines))


if __name__ == "__main__":
    app.run(main)
