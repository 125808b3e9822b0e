"""The command `train`: the call of the trainer, choices of flags, wrong arguments, and interruption."""

import json
import signal
import subprocess
import sys

import pytest
from support.command import run
from support.runs import NET, write_archive, write_weights

from tfalexnet import alexnet, data, training
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.training import plan, trainer
from tfalexnet.training.loop import Stopped


def test_weights_with_a_table_of_their_own_are_read_once_and_trained(tmp_path, monkeypatch, capsys):
    """Which pictures validate does not depend on the seed."""
    write_weights(tmp_path / "own.weights.h5")
    write_archive(tmp_path / "d.npz", 40, validation=False)
    reads = []
    monkeypatch.setattr(plan, "read_checkpoint", lambda *given: reads.append(given) or read_checkpoint(*given))
    monkeypatch.setattr(alexnet, "read_checkpoint", None)
    flags = ("--weights", "own.weights.h5", "--epochs", "1", "--batch-size", "8", "--output", "run", "--seed", "1")
    result = run(capsys, "train", "d.npz", *flags, cwd=tmp_path)
    assert result.returncode == 0 and result.stdout.endswith("predict PHOTO --weights run/model.weights.h5\n")
    assert len(reads) == 1
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    assert description["options"]["seed"] == 1 and description["recipe"]["source"] == training.FINE_TUNE.source
    assert description["origin"]["command"].startswith("tfalexnet train d.npz --weights own.weights.h5")
    parts = tuple(part.digest() for part in data.read(tmp_path / "d.npz"))
    assert (description["training"]["sha256"], description["validation"]["sha256"]) == parts
    assert read_checkpoint(tmp_path / "run" / "model.weights.h5").spec.architecture == NET.with_classes(3)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_prints_how_to_resume(number, status, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise Stopped("stopped in epoch 1; all is saved in run", number)

    write_archive(tmp_path / "d.npz", 80)
    monkeypatch.setattr(trainer, "carry_out", stop)
    result = run(capsys, "train", "d.npz", "--architecture", "mnist_28", "--output", "run", cwd=tmp_path)
    assert result.returncode == status
    resume = "tfalexnet train d.npz --architecture mnist_28 --output run"
    assert result.stderr == f"tfalexnet: stopped in epoch 1; all is saved in run. To resume: {resume}\n"


CHEAP = {  # What a mistake is answered with; none of them takes TensorFlow.
    "none": "no such file",
    "empty": "expected a folder of pictures for each class; received none",
    "*.jpg": "no such file",
    "d.npz --weights none.npy": "none.npy",
    "d.npz --architecture vgg": "Expected `architecture` to be one of",
    "d.npz --classes none.txt": "none.txt",
    "d.npz --seed -1": "Expected `seed`",
    "d.npz --epochs 0": "Invalid value for '--epochs'",
    "d.npz --batch-size 999": "Expected a batch of 1 to",
    "d.npz --freeze-until fc9 --weights own.weights.h5 --batch-size 4": "Expected `freeze_until` to be one of conv1",
    "d.npz --new-classifier --batch-size 4": "Expected `weights` with `new_classifier`",
}


def test_mistakes_are_answered_without_tensorflow(tmp_path):
    write_archive(tmp_path / "d.npz", 40)
    write_weights(tmp_path / "own.weights.h5")
    (tmp_path / "empty").mkdir()
    code = (
        "import sys\nfrom tfalexnet.cli.main import run\n"
        "for line in sys.argv[1:]:\n"
        "    assert run(['train', *line.split(), '--output', 'run']) in (1, 2)\n"
        "    assert not {'tensorflow', 'keras'} & set(sys.modules), line\n"
    )
    child = subprocess.run([sys.executable, "-c", code, *CHEAP], capture_output=True, cwd=tmp_path, encoding="utf-8")
    assert child.returncode == 0, child.stderr
    for message in CHEAP.values():
        assert message in child.stderr
    assert not (tmp_path / "run").exists()


WRONG = {
    "an unknown flag": (["--lr", "3"], 2, "Usage: tfalexnet train "),
    "half a flag": (["--epoch", "3"], 2, "No such option '--epoch'. Did you mean '--epochs'?"),
    "learning rate": (["--learning-rate", "nan"], 2, "expected a positive number, received nan"),
    "seed": (["--seed", "-1"], 1, "Expected `seed` to be from 0 to 4294967295. Received: -1"),
    "minutes": (["--checkpoint-minutes", "0"], 2, "expected a positive number, received 0"),
    "batch": (
        ["--batch-size", "1000"],
        1,
        "Expected a batch of 1 to 37, the training pictures (3 more are for validation). Received: 1000,",
    ),
    "cluster": (["--batch-size", "8", "--strategy", "multi-worker"], 1, "Expected TF_CONFIG in the environment"),
    "architecture": (["--architecture", "vgg"], 1, "Expected `architecture` to be one of"),
    "freeze": (["--freeze-until", "pool1"], 1, "Expected `weights` with `freeze_until`"),
    "weights": (["--weights", "cifar10"], 1, "does not fit mnist_28"),
    "run": (["--batch-size", "8", "--output", "other"], 1, "Expected other to be the folder of a training, or empty"),
    "another run": (["--batch-size", "8", "--output", "run"], 1, "It is that of another: "),
    "devices": (["--batch-size", "8", "--devices", "/GPU:0,/GPU:1"], 1, "devices"),
    "classes": (["--classes", "names.txt"], 1, "Expected the classes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_one_line(name, tmp_path, monkeypatch, capsys):
    flags, status, message = WRONG[name]
    write_archive(tmp_path / "d.npz", 40, validation=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"architecture": "bvlc_alexnet"}')
    (tmp_path / "run" / "checkpoint.npz").touch()
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "names.txt").write_text("one\ntwo")
    result = run(capsys, "train", "d.npz", "--architecture", "mnist_28", "--output", "new", *flags, cwd=tmp_path)
    assert result.returncode == status and message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "new").exists()
