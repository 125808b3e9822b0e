"""Time and memory to read 244 MB of weights in every format, beside numpy.load and torch.load.

    python benchmarks/reading.py

Two minutes on two cores with nothing else running; prints a table. Random weights of bvlc_alexnet's
shapes, and of one_weird_trick's for PyTorch, are written in each format and read by a process of its
own, from the page cache. The result are contiguous float32 arrays, every number of which has been
looked at; a file that is mapped where it lies counts as its result. Time is from the call to the result,
without imports, the median of --rounds; memory is the peak of the process beyond its imports and its
result, as a multiple of the numbers' 244 MB. Peer: pip install torch.
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
from tfalexnet.checkpoints.formats import Contents, state_dict
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.networks.spec import Parameters

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 3, "Processes for each time.", lower_bound=1)

SECONDS, MEMORY = 3, 1.3  # The project's bounds for each format.

# What Deep Compression keeps of each layer: S. Han et al., "Learning both Weights and Connections for
# Efficient Neural Networks", NIPS 2015, table 4.
KEPT = {"conv1": 0.84, "conv2": 0.38, "conv3": 0.35, "conv4": 0.37, "conv5": 0.37, "fc6": 0.09, "fc7": 0.09}
KEPT |= {"fc8": 0.25}

# File, reader, what it imports, and its arrays one after the other.
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
    """As Deep Compression leaves them: few numbers but 0, and those of few values."""
    generator = np.random.default_rng(2012)
    found = {}
    for name, (kernel, bias) in parameters.items():
        codes = generator.integers(1, 256 if kernel.ndim == 4 else 16, kernel.shape, np.uint8)
        codes *= generator.random(kernel.shape, np.float32) < KEPT[name]
        found[name] = codes * np.float32(0.001), bias
    return found


def write(folder: Path) -> None:
    """Every file, by the package itself but for PyTorch's."""
    net = ARCHITECTURES["bvlc_alexnet"]
    parameters = random_parameters(net)
    for suffix, module in FORMATS.items():
        if hasattr(module, "write"):
            kept = compressed(parameters) if suffix == ".net" else parameters
            spec = ModelSpec(net, PREPROCESSING[net.name], ())
            write_checkpoint(folder / f"{net.name}{suffix}", Checkpoint(kept, spec))
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
    """Seconds, and memory beyond the result in its own size: medians of processes."""
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
        f"| file | MB | read by | s (must be < {SECONDS}) | memory beyond the result, × (must be < {MEMORY}) |",
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
