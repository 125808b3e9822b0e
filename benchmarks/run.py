"""Speed and memory beside other implementations, in one run on one machine.

    python benchmarks/run.py

Five minutes on two cores with nothing else running; writes benchmarks/RESULTS.md. All implementations
get the same random weights of bvlc_alexnet's shapes and the same pictures; unless all give the same
probabilities to 1e-5, nothing is timed. Every figure stands beside the project's bound, where there is
one, and ratios are medians of paired runs. Peers: pip install torch onnx onnxruntime openvino.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from absl import app, flags

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

FLAGS = flags.FLAGS
flags.DEFINE_string("output", str(Path(__file__).parent / "RESULTS.md"), "The table to write.")
flags.DEFINE_integer("rounds", 30, "Paired rounds of each timing.", lower_bound=1)

Network = Callable[[np.ndarray], np.ndarray]
Parameters = dict[str, tuple[np.ndarray, np.ndarray]]


def random_parameters() -> Parameters:
    """He-scaled kernels; a classifier small enough that its softmax does not saturate."""
    from tfalexnet.architectures import BVLC_ALEXNET

    generator = np.random.default_rng(2012)
    parameters = {}
    for name, (kernel, bias) in BVLC_ALEXNET.parameter_shapes().items():
        deviation = np.sqrt(2 / np.prod(kernel[:-1])) / (40 if name == "fc8" else 1)
        parameters[name] = (
            generator.standard_normal(kernel, np.float32) * np.float32(deviation),
            generator.standard_normal(bias, np.float32) * np.float32(0.1),
        )
    return parameters


def this_package(_: Parameters, folder: Path) -> Network:
    from tfalexnet.inference import load

    network = load(folder / "bvlc_alexnet.weights.h5")
    return lambda x: network(x)[0]


def plain_tensorflow(parameters: Parameters, _: Path) -> Network:
    """The operations of the tf_alexnet script, conv1 VALID, under one tf.function."""
    import tensorflow as tf

    weights = {name: [tf.Variable(array) for array in arrays] for name, arrays in parameters.items()}

    def conv(x: tf.Tensor, name: str, groups: int, stride: int = 1, padding: str = "SAME") -> tf.Tensor:
        kernel, bias = weights[name]
        pairs = zip(tf.split(x, groups, 3), tf.split(kernel, groups, 3), strict=True)
        return tf.nn.relu(tf.concat([tf.nn.conv2d(a, k, stride, padding) for a, k in pairs], 3) + bias)

    def norm_pool(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.max_pool2d(tf.nn.local_response_normalization(x, 2, 1.0, 2e-5, 0.75), 3, 2, "VALID")

    @tf.function(input_signature=[tf.TensorSpec((None, 227, 227, 3))])
    def network(x: tf.Tensor) -> tf.Tensor:
        x = norm_pool(conv(x, "conv1", 1, 4, "VALID"))
        x = norm_pool(conv(x, "conv2", 2))
        x = conv(conv(conv(x, "conv3", 1), "conv4", 2), "conv5", 2)
        x = tf.reshape(tf.nn.max_pool2d(x, 3, 2, "VALID"), (-1, 9216))
        x = tf.nn.relu(x @ weights["fc6"][0] + weights["fc6"][1])
        x = tf.nn.relu(x @ weights["fc7"][0] + weights["fc7"][1])
        return tf.nn.softmax(x @ weights["fc8"][0] + weights["fc8"][1])

    return lambda x: network(x).numpy()


def torch_module(parameters: Parameters):
    import torch
    from torch import nn

    def norm_pool() -> list:
        return [nn.ReLU(), nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0), nn.MaxPool2d(3, 2)]

    module = nn.Sequential(
        *(nn.Conv2d(3, 96, 11, 4), *norm_pool(), nn.Conv2d(96, 256, 5, 1, 2, groups=2), *norm_pool()),
        *(nn.Conv2d(256, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 384, 3, 1, 1, groups=2), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, 1, 1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.Linear(9216, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000), nn.Softmax(1)),
    ).eval()
    weighted = [layer for layer in module if hasattr(layer, "weight")]
    for layer, (name, (kernel, bias)) in zip(weighted, parameters.items(), strict=True):
        if name == "fc6":  # PyTorch flattens channel first.
            kernel = kernel.reshape(6, 6, 256, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        layer.weight.data = torch.from_numpy(np.ascontiguousarray(kernel))
        layer.bias.data = torch.from_numpy(bias)
    return module


def pytorch(parameters: Parameters, _: Path) -> Network:
    import torch

    module = torch_module(parameters).to(memory_format=torch.channels_last)

    def network(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()

    return network


def onnx_file(parameters: Parameters, folder: Path) -> Path:
    import onnx  # noqa: F401  torch.onnx needs it, and says so less clearly.
    import torch

    path = folder / "net.onnx"
    if not path.exists():
        axes = {"x": {0: "batch"}}
        torch.onnx.export(
            torch_module(parameters),
            (torch.zeros(1, 3, 227, 227),),
            path,
            input_names=["x"],
            dynamic_axes=axes,
            dynamo=False,
        )
    return path


def onnx_runtime(parameters: Parameters, folder: Path) -> Network:
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_file(parameters, folder), providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0]


def openvino(parameters: Parameters, folder: Path) -> Network:
    import openvino

    # On processors with bfloat16 it would take that unasked.
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(onnx_file(parameters, folder), "CPU", options)
    return lambda x: model(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))[0]


PEERS: dict[str, Callable[[Parameters, Path], Network]] = {
    "tfalexnet": this_package,
    "tensorflow": plain_tensorflow,
    "torch": pytorch,
    "onnxruntime": onnx_runtime,
    "openvino": openvino,
}


def networks(parameters: Parameters, folder: Path) -> dict[str, Network]:
    """The peers that are installed."""
    found = {}
    for name, make in PEERS.items():
        try:
            found[name] = make(parameters, folder)
        except ImportError as error:
            print(f"{name}: not measured, pip install {error.name}", flush=True)
    return found


def paired(peers: dict[str, Network], inputs: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Seconds of each peer in every round, each round running all in turn.

    The order is drawn anew in every round: threads of one library still spin when the next begins.
    """
    seconds: dict[str, list[float]] = {name: [] for name in peers}
    order = list(peers)
    for round_ in range(rounds + 2):
        random.shuffle(order)
        for name in order:
            start = time.perf_counter()
            peers[name](inputs)
            if round_ >= 2:  # The first rounds warm up.
                seconds[name].append(time.perf_counter() - start)
    return seconds


def speed_table(peers: dict[str, Network], pictures: np.ndarray, rounds: int) -> list[str]:
    one, many = (paired(peers, pictures[:count], rounds) for count in (1, 32))
    lines = ["| | version | batch 1, ms | ratio | batch 32, pictures/s | ratio |", "|---|---|---|---|---|---|"]
    for name in peers:
        cells = [name, metadata.version(name)]
        for seconds, figure in ((one, lambda s: 1000 * s), (many, lambda s: 32 / s)):
            ratios = [theirs / ours for theirs, ours in zip(seconds[name], seconds["tfalexnet"], strict=True)]
            cells += [f"{figure(statistics.median(seconds[name])):.1f}", f"{statistics.median(ratios):.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def shell(code: str, *arguments: object) -> tuple[float, float, str]:
    """Seconds, peak memory in MB and output of Python code in a process of its own."""
    # Not ru_maxrss, which a child inherits from the process that started it.
    code += "\nprint(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, check=True, text=True
    )
    seconds = time.perf_counter() - start
    *output, peak = run.stdout.splitlines()
    return seconds, int(peak) / 1024, output[-1] if output else ""


def median_ratio(first: Callable[[], float], second: Callable[[], float], rounds: int) -> tuple[float, float, float]:
    """Medians of both and of their ratio, pair by pair, after a pair to warm up."""
    pairs = [(first(), second()) for _ in range(rounds + 1)][1:]
    mine, theirs = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(theirs), statistics.median(a / b for a, b in pairs)


IMPORT_AND_READ = "import tensorflow, pathlib, sys; pathlib.Path(sys.argv[1]).read_bytes()"
PREDICT = (
    "import sys; sys.argv = ['tfalexnet', 'predict', *sys.argv[1:]]; from tfalexnet.__main__ import main; main()"
)
CONVERT = "import sys, tensorflow; from tfalexnet import convert; convert(sys.argv[1], sys.argv[2])"
IMPORT = (
    "import time; start = time.perf_counter(); import tfalexnet, sys; print(time.perf_counter() - start)\n"
    "assert 'tensorflow' not in sys.modules"
)
LOOP = """
import sys, psutil, tfalexnet
from tfalexnet.inference import load
process, sizes = psutil.Process(), []
for call in range(1000):
    tfalexnet.predict(sys.argv[2], weights=sys.argv[1])
    if call in (99, 999):
        sizes.append(process.memory_info().rss / 2**20)
print(sizes[1] - sizes[0], load(sys.argv[1]).function.experimental_get_tracing_count() - 1)
"""
PEAK = """
import sys, pathlib, numpy as np
sys.path.insert(0, sys.argv[1]); import run
folder = pathlib.Path(sys.argv[2])
pictures = np.load(folder / 'pictures.npy')
with np.load(folder / 'net.npz') as arrays:
    parameters = {n: (arrays[n + '.kernel'], arrays[n + '.bias']) for n in arrays['names'].tolist()}
network = run.PEERS[sys.argv[3]](parameters, folder)
del parameters
for _ in range(3): network(pictures)
"""


def process_table(folder: Path, rounds: int) -> list[str]:
    """Figures of whole processes, each beside its bound."""
    npy, h5, photo = folder / "bvlc_alexnet.npy", folder / "bvlc_alexnet.weights.h5", folder / "photo.png"
    size = npy.stat().st_size / 2**20
    few = max(1, rounds // 3)

    bare = shell("import tensorflow")[1]
    conversions = [shell(CONVERT, npy, folder / "again.weights.h5")[:2] for _ in range(few)]
    alone = [
        shell("import sys; from tfalexnet import convert; convert(sys.argv[1], sys.argv[2])", npy, h5)[:2]
        for _ in range(few)
    ]
    command = [sys.executable, "-m", "tfalexnet", "predict", str(photo), "--weights", str(h5)]

    def first_answer() -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - start

    answer, base, ratio = median_ratio(first_answer, lambda: shell(IMPORT_AND_READ, h5)[0], few)
    importing = statistics.median(float(shell(IMPORT)[2]) for _ in range(few))
    growth, retracings = shell(LOOP, h5, photo)[2].split()
    beyond = max(peak for _, peak in conversions) - bare
    rows = [
        ("conversion of 244 MB, TensorFlow imported too, s", max(s for s, _ in conversions), "< 15"),
        ("the same, memory beyond a bare `import tensorflow`, × the file", beyond / size, "< 2.2"),
        ("conversion from the shell, s", max(s for s, _ in alone), ""),
        ("the same, peak memory of the process, × the file", max(peak for _, peak in alone) / size, ""),
        ("`import tfalexnet`, without TensorFlow, s", importing, "< 0.3"),
        ("first answer from the shell, s", answer, ""),
        ("`import tensorflow` and reading the weights, s", base, ""),
        ("ratio of these two, median of pairs", ratio, "≤ 1.5"),
        ("growth over 900 predictions in a loop, MB", float(growth), "0"),
        ("retracings in 1000 predictions", int(retracings), "0"),
    ]
    for name in ("tfalexnet", "torch"):
        try:
            peak = shell(PEAK, Path(__file__).parent, folder, name)[1]
        except subprocess.CalledProcessError:
            continue
        rows.append((f"peak memory at batch 32, {name}, MB", peak, ""))
    lines = ["| figure | measured | must be |", "|---|---|---|"]
    return lines + [f"| {name} | {value:.4g} | {bound} |" for name, value, bound in rows]


def main(_: list[str]) -> None:
    from PIL import Image

    import tfalexnet
    from tfalexnet.preprocessing import BVLC

    parameters = random_parameters()
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "bvlc_alexnet.npy", np.array({n: list(p) for n, p in parameters.items()}, dtype=object))
        arrays = {
            f"{n}.{part}": a for n, p in parameters.items() for part, a in zip(("kernel", "bias"), p, strict=True)
        }
        np.savez(folder / "net.npz", names=list(parameters), **arrays)
        tfalexnet.convert(folder / "bvlc_alexnet.npy", folder / "bvlc_alexnet.weights.h5")
        coarse = generator.integers(0, 256, (32, 12, 16, 3), "uint8")
        photos = [Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC) for pixels in coarse]
        photos[0].save(folder / "photo.png")
        pictures = np.array([BVLC(photo) for photo in photos])
        np.save(folder / "pictures.npy", pictures)

        processes = process_table(folder, FLAGS.rounds)
        peers = networks(parameters, folder)
        answers = {name: network(pictures) for name, network in peers.items()}
        for name, answer in answers.items():
            difference = np.abs(answer - answers["tensorflow"]).max()
            if difference > 1e-5:
                raise SystemExit(f"{name} differs by {difference} in a probability; nothing was timed.")
        speeds = speed_table(peers, pictures, FLAGS.rounds)
    text = "\n".join(
        [
            "# Results",
            "",
            f"`python benchmarks/run.py --rounds {FLAGS.rounds}` on {os.cpu_count()} cores, Python "
            f"{sys.version.split()[0]}, float32, random weights of bvlc_alexnet's shapes. All probabilities agree "
            "to 1e-5. A ratio says how many times as fast tfalexnet is as the peer, the median of paired rounds.",
            "",
            *speeds,
            "",
            *processes,
            "",
        ]
    )
    Path(FLAGS.output).write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    app.run(main)
