"""The error is the one NumPy counts, however the pictures lie, and whatever interrupts the counting."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.nets import random_parameters

import tfalexnet
from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.evaluation import evaluate as evaluation
from tfalexnet.evaluation.evaluate import evaluate
from tfalexnet.evaluation.report import report_table
from tfalexnet.exporters.export import EXPORTERS, export
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import classes_from_labels, ilsvrc_ids, imagenet_classes
from tfalexnet.images.preprocessing import TORCHVISION
from tfalexnet.inference import pipeline, resume
from tfalexnet.inference.pipeline import run_network
from tfalexnet.io.progress import Progress
from tfalexnet.runtimes.network import Network

NET = tfalexnet.ARCHITECTURES["cifar10_18pct"]
PROCESS = dataclasses.replace(TORCHVISION, size=40, crop=32)
COUNT = 60
PASSING = ("seconds", "resumed_after")  # What an interruption may change.


def save(path, net, classes, parameters=None):
    write_checkpoint(path, Checkpoint(parameters or random_parameters(net), ModelSpec(net, PROCESS, classes)))
    return path


@pytest.fixture(scope="module")
def thin(tmp_path_factory):
    """Random weights of a small network of ImageNet's classes."""
    return save(tmp_path_factory.mktemp("weights") / "thin.weights.h5", NET.with_classes(1000), imagenet_classes())


@pytest.fixture(scope="module")
def images():
    """Of the size that the network resizes to, in colours far apart."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (COUNT, 5, 5, 3), "uint8")
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def views(image, crops):
    """By the definition in the paper: 32×32 of 40×40, four corners and the centre, mirrored."""
    corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)] if crops == 10 else [(4, 4)]
    cut = [image[top : top + 32, left : left + 32] for top, left in corners]
    cut += [view[:, ::-1] for view in cut] if crops == 10 else []
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return [((view / 255 - mean) / deviation).astype("float32") for view in cut]


@pytest.fixture(scope="module")
def ranks(thin, images):
    """By crops, the classes of each picture by falling probability: each view alone, then the mean."""
    model = AlexNet(NET.with_classes(1000), weights=thin)
    means = {
        crops: np.array(
            [np.mean([model(view[None]).numpy()[0] for view in views(image, crops)], axis=0) for image in images]
        )
        for crops in (1, 10)
    }
    return {crops: np.argsort(-mean, axis=1, kind="stable") for crops, mean in means.items()}


@pytest.fixture
def folder(tmp_path, monkeypatch, images, ranks):
    """Class folders; picture i is of the class that has place i % 10 in the answer of one view."""
    monkeypatch.chdir(tmp_path)
    for i, image in enumerate(images):
        wnid = imagenet_classes()[ranks[1][i, i % 10]].wnid
        os.makedirs(f"set/{wnid}", exist_ok=True)
        Image.fromarray(image).save(f"set/{wnid}/{i}.png")
    return Path("set")


def steady(report):
    return {name: value for name, value in report.items() if name not in PASSING}


def test_errors_and_confusion_are_those_numpy_counts(folder, thin, ranks):
    report = evaluate(folder, thin)
    truth = np.array([ranks[1][i, i % 10] for i in range(COUNT)])
    top = ranks[1][:, :5]
    assert (report["pictures"], report["read"], report["unreadable"]) == (COUNT, COUNT, [])
    assert report["top1_wrong"] == int((top[:, 0] != truth).sum()) == 54
    assert report["top5_wrong"] == int((top != truth[:, None]).all(axis=1).sum()) == 30
    assert (report["top1_error"], report["top5_error"]) == (90, 50)
    for index, row in report["per_class"].items():
        of = truth == int(index)
        assert (row["wnid"], row["name"]) == imagenet_classes()[int(index)] and row["read"] == of.sum()
        assert row["top1_error"] == pytest.approx(100 * (top[of, 0] != truth[of]).mean())
        assert row["top5_error"] == pytest.approx(100 * (top[of] != truth[of, None]).all(axis=1).mean())
    assert set(map(int, report["per_class"])) == set(truth)
    confusion = np.zeros((1000, 1000), int)
    np.add.at(confusion, (truth, top[:, 0]), 1)
    assert report["confusion"] == [[t, p, confusion[t, p]] for t, p in np.argwhere(confusion).tolist()]


def test_ten_crops_are_the_mean_of_ten_views(folder, thin, ranks):
    assert (ranks[1][:, :5] != ranks[10][:, :5]).any(axis=1).mean() > 0.5  # Or one view would do.
    report = evaluate(folder, thin, crops=10, batch=7)
    truth = np.array([ranks[1][i, i % 10] for i in range(COUNT)])
    assert report["top1_wrong"] == (ranks[10][:, 0] != truth).sum()
    assert report["top5_wrong"] == (ranks[10][:, :5] != truth[:, None]).all(axis=1).sum()
    best = sorted(zip(truth.tolist(), ranks[10][:, 0].tolist(), strict=True))
    assert [pair for *pair, count in report["confusion"] for _ in range(count)] == [list(pair) for pair in best]
    assert report["protocol"]["crops"] == 10 and "ten views of 32×32" in report["protocol"]["words"]


def test_of_equal_probabilities_the_lower_number_comes_first(tmp_path):
    names = [f"class {index}" for index in range(100)]  # More than NumPy sorts stably unasked.
    net = NET.with_classes(100)
    parameters = {name: (kernel * 0, bias * 0) for name, (kernel, bias) in random_parameters(net).items()}
    parameters[net.classifier.name][1][1::2] = 1
    file = save(tmp_path / "w.weights.h5", net, classes_from_labels(names), parameters)
    for name in names:
        os.makedirs(tmp_path / "set" / name)
        Image.new("RGB", (40, 40)).save(tmp_path / "set" / name / "x.png")
    report = evaluate(tmp_path / "set", file)
    assert report["confusion"] == [[index, 1, 1] for index in range(100)]
    assert [int(i) for i, row in report["per_class"].items() if not row["top5_wrong"]] == [1, 3, 5, 7, 9]


def test_five_classes_have_no_top_5(tmp_path):
    file = save(tmp_path / "w.weights.h5", NET.with_classes(5), classes_from_labels(list("abcde")))
    os.makedirs(tmp_path / "set/a")
    Image.new("RGB", (40, 40)).save(tmp_path / "set/a/x.png")
    report = evaluate(tmp_path / "set", file)
    assert report["top5_error"] is report["top5_wrong"] is report["per_class"]["0"]["top5_error"] is None
    assert report["top1_error"] in (0, 100)
    assert "top-5" not in report_table(report) and "\npublished" not in report_table(report)


def flat(folder, number):
    """The pictures of class folders shuffled into one, with new names, and a file of their numbers."""
    os.makedirs("flat")
    files = sorted(folder.glob("*/*"))
    np.random.default_rng(1).shuffle(files)
    lines = []
    for place, file in enumerate(files):
        name = f"{30_000 + place}{file.suffix}"
        shutil.copy(file, f"flat/{name}")
        lines.append(f"{name} {number[file.parent.name]}\n")
    Path("flat.txt").write_text("".join(sorted(lines)))
    Path("alone.txt").write_text("".join(line.split()[1] + "\n" for line in sorted(lines)))


NUMBERS = {
    "sorted": {wnid: index for index, (wnid, _) in enumerate(imagenet_classes())},
    "ilsvrc": {imagenet_classes()[index].wnid: number for number, index in ilsvrc_ids().items()},
}
SAME = ("pictures", "read", "top1_error", "top5_error", "per_class", "confusion")


@pytest.mark.parametrize("ids", NUMBERS)
def test_a_shuffled_flat_copy_has_the_same_numbers(folder, thin, ids):
    by_folders = evaluate(folder, thin)
    flat(folder, NUMBERS[ids])
    for truth in ("flat.txt", "alone.txt"):
        by_file = evaluate("flat", thin, truth=truth, ids=ids, batch=11)
        assert {name: by_file[name] for name in SAME} == {name: by_folders[name] for name in SAME}
        assert by_file["truth"] == {"file": truth, "ids": ids, "unused": 0} and by_folders["truth"] is None
    with pytest.raises(ValueError, match="Say which"):
        evaluate("flat", thin, truth="flat.txt")
    if ids == "sorted":  # The mistake that the question is to prevent.
        assert evaluate("flat", thin, truth="flat.txt", ids="ilsvrc")["per_class"] != by_folders["per_class"]


def test_unreadable_pictures_are_named_and_count_in_no_error(folder, thin):
    whole = evaluate(folder, thin)
    victim = folder / whole["per_class"].popitem()[1]["wnid"]
    (victim / "broken.png").write_bytes(b"no picture")
    (victim / "empty.jpg").touch()
    (victim / "gone.jpg").symlink_to("nowhere")
    report = evaluate(folder, thin, output="report.json")
    assert report["unreadable"] == [
        {"file": f"{victim.name}/broken.png", "reason": "not a picture in a format that Pillow reads"},
        {"file": f"{victim.name}/empty.jpg", "reason": "empty file"},
        {"file": f"{victim.name}/gone.jpg", "reason": "no such file or directory"},
    ]
    assert report["pictures"] == COUNT + 3 and report["read"] == COUNT
    assert report["top1_error"] == whole["top1_error"] and report["confusion"] == whole["confusion"]
    assert "unreadable   3" in report_table(report)


def test_nothing_to_read_is_an_error_and_leaves_nothing_behind(folder, thin):
    for file in folder.glob("*/*"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"set: expected pictures; none of {COUNT} can be read\. .*: empty file\."):
        evaluate(folder, thin, output="report.json")
    assert not list(Path().glob("report*"))


def test_the_report_is_on_disk_as_it_is_returned(folder, thin):
    report = evaluate(folder, thin, output="new/report.json")
    assert json.loads(Path("new/report.json").read_bytes()) == report
    assert os.listdir("new") == ["report.json"]
    assert report["sha256"] == hashlib.sha256(thin.read_bytes()).hexdigest()
    mean = report["protocol"]["preprocessing"].pop("mean")
    assert mean == pytest.approx(PROCESS.mean)
    assert report["protocol"]["preprocessing"] == {
        "resize": "shorter side",
        "size": 40,
        "crop": 32,
        "antialias": True,
        "channels": "RGB",
        "scale": 1 / 255,
        "std": [0.229, 0.224, 0.225],
    }
    assert report["protocol"]["words"] == (
        "shorter side to 40, bilinear, antialiased; one view, the centre 32×32; "
        "(RGB · 0.00392157 − (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)"
    )
    assert evaluate(folder, thin, output="new/report.json", overwrite=True)["resumed_after"] == 0


def interrupted(monkeypatch, folder, thin, error=KeyboardInterrupt, steps=2, **given):
    """An evaluation that ends after so many steps of eight pictures."""
    call, calls = Network.__call__, []

    def limited(self, inputs, batch):
        if len(calls) == steps:
            raise error
        calls.append(len(inputs))
        return call(self, inputs, batch)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "COMPUTED_AT_ONCE", 1)  # Else the second step may come after the third.
        patch.setattr(Network, "__call__", limited)
        with pytest.raises(error):
            evaluate(folder, thin, batch=8, output="report.json", **given)
    assert not os.path.exists("report.json")
    return Path("report.json.journal")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupted_it_goes_on_where_it_was(folder, thin, monkeypatch, error):
    (folder / "n01440764").mkdir(exist_ok=True)
    (folder / "n01440764" / "0.png").touch()  # The first of all, unreadable.
    whole = evaluate(folder, thin)
    journal = interrupted(monkeypatch, folder, thin, error)
    lines = journal.read_text().splitlines()
    assert len(lines) == 1 + 16 and json.loads(lines[1]) == {"file": "n01440764/0.png", "error": "empty file"}
    evaluated = []
    run = run_network
    monkeypatch.setattr(
        evaluation, "run_network", lambda n, paths, *rest: evaluated.extend(paths) or run(n, paths, *rest)
    )
    report = evaluate(folder, thin, batch=5, output="report.json")
    assert len(evaluated) == COUNT + 1 - 16 and report["resumed_after"] == 16
    assert steady(report) == steady(whole)
    assert not journal.exists()


def test_killed_it_goes_on_where_it_was(folder, thin):
    """The last picture is a pipe that nobody writes to, so that the kill always finds it at work."""
    last = max(folder.glob("*/*"))
    image = last.read_bytes()
    last.unlink()
    os.mkfifo(last)
    code = f"from tfalexnet import evaluate; evaluate('set', {str(thin)!r}, batch=8, output='r.json')"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    journal, deadline = Path("r.json.journal"), time.monotonic() + 60
    while not journal.exists() or journal.read_text().count("\n") < 1 + 56:  # 60 are seven steps of 8 and one of 4.
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last.unlink()
    last.write_bytes(image)
    report = evaluate(folder, thin, output="r.json")
    assert report["resumed_after"] == 56
    assert steady(report) == steady(evaluate(folder, thin))
    assert os.path.exists("r.json") and not journal.exists()


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_folder_that_vanishes_midway_makes_no_picture_unreadable(folder, thin, monkeypatch, left):
    class Vanishing(Progress):
        def advance(self, *given):
            super().advance(*given)
            if self.count == 10:
                folder.rename("away")
                left == "nothing" or folder.mkdir()

    whole = evaluate(folder, thin)
    threads = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(resume, "Progress", Vanishing)
        patch.setattr(pipeline, "BATCHES_AHEAD", 2)
        with pytest.raises(NotADirectoryError, match="set: expected the pictures that were there; it is gone, or em"):
            evaluate(folder, thin, batch=8, output="report.json")
    assert threading.active_count() == threads
    assert not os.path.exists("report.json") and "no such file" not in Path("report.json.journal").read_text()
    left == "nothing" or folder.rmdir()
    os.rename("away", folder)
    report = evaluate(folder, thin, output="report.json")
    assert report["resumed_after"] >= 10 and steady(report) == steady(whole)


@pytest.mark.parametrize(
    "torn",
    [
        lambda whole: whole[:-3],
        lambda whole: whole[:-1],  # All but its end of line.
        lambda whole: whole + b'["n014407',
        lambda whole: whole + b"\x00" * 100,
        lambda whole: whole + b"[]\n",
        lambda whole: whole + b'["another.png", [1, 2, 3, 4, 5]]\n',
        lambda whole: whole.split(b"\n")[0] + b"\n",
    ],
)
def test_a_torn_line_is_evaluated_again(folder, thin, monkeypatch, torn):
    journal = interrupted(monkeypatch, folder, thin)
    journal.write_bytes(torn(journal.read_bytes()))
    again = interrupted(monkeypatch, folder, thin, steps=1).read_bytes()  # Cut, and written on.
    assert all(len(json.loads(line)) == 2 for line in again.splitlines()[1:])
    report = evaluate(folder, thin, output="report.json")
    assert report["resumed_after"] in (8, 15 + 8, 16 + 8)
    assert steady(report) == steady(evaluate(folder, thin))


def test_a_journal_of_another_evaluation_is_kept_and_refused(folder, thin, monkeypatch, tmp_path):
    journal = interrupted(monkeypatch, folder, thin)
    before = journal.read_bytes()
    other = save(
        tmp_path / "other.weights.h5",
        NET.with_classes(1000),
        imagenet_classes(),
        random_parameters(NET.with_classes(1000), 1),
    )

    def refused(what, *arguments, **given):
        message = (
            rf"report\.json\.journal to be left by the same command. It differs: {what}\. Delete it, or choose another"
        )
        with pytest.raises(ValueError, match=message):
            evaluate(*arguments, output="report.json", **given)
        assert journal.read_bytes() == before

    refused("crops: 1 there, 10 here", folder, thin, crops=10)
    refused(r"weights: thin\.weights\.h5 there, other\.weights\.h5 here", folder, other)
    first, second = sorted(folder.glob("*/*"))[:2]
    moved = folder / "n01440764" / first.name
    moved.parent.mkdir(exist_ok=True)
    first.rename(moved)
    refused("files: different; labels: different", folder, thin)
    moved.rename(first)
    second.rename(tmp_path / "second.png")
    refused("files: 60 there, 59 here; labels: different", folder, thin)
    (tmp_path / "second.png").rename(second)
    assert evaluate(folder, thin, output="report.json")["resumed_after"] == 16


def test_a_file_that_only_has_the_journals_name_is_kept(folder, thin):
    for content in (b"dear diary\n", b"", b"[1, 2]\n", b'{"crops": 1}\n'):
        Path("report.json.journal").write_bytes(content)
        with pytest.raises(
            ValueError, match=r"report\.json\.journal: expected the journal of an interrupted command of this version"
        ):
            evaluate(folder, thin, output="report.json")
        assert Path("report.json.journal").read_bytes() == content


def test_weights_whose_answers_are_no_numbers(folder, tmp_path):
    net = NET.with_classes(1000)
    parameters = {name: (kernel * np.float32(1e30), bias) for name, (kernel, bias) in random_parameters(net).items()}
    file = save(tmp_path / "huge.weights.h5", net, imagenet_classes(), parameters)
    with pytest.raises(CheckpointError, match=r"huge\.weights\.h5: expected finite numbers; .*png with .*NaN"):
        evaluate(folder, file)


@pytest.mark.parametrize(("format", "package"), [("litert", "ai_edge_litert"), ("openvino", "openvino")])
def test_an_exported_file_is_evaluated_by_its_runtime_alone(folder, thin, format, package):
    runtime = pytest.importorskip(package)
    file = export(thin, Path("out") / EXPORTERS[format].NAME.format("net"), format)
    code = (
        "import json, sys; from tfalexnet import evaluate\n"
        "print(json.dumps(evaluate('set', sys.argv[1])))\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report, wanted = json.loads(run.stdout), evaluate(folder, thin)
    assert {name: report[name] for name in SAME} == {name: wanted[name] for name in SAME}
    always = {"tfalexnet", "numpy", "pillow", "python"}
    assert set(report["versions"]) == {*always, package} and report["versions"][package] == runtime.__version__
    assert set(wanted["versions"]) == {*always, "tensorflow", "keras"}
    assert wanted["versions"]["tensorflow"] == tf.__version__


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"crops": 5}, "Expected 1 or 10 crops. Received: 5"),
        ({"batch": 0}, "Expected `batch` to be a positive integer. Received: batch=0"),
        ({"output": "set"}, "set: expected a file for the report; received a folder"),
        ({"ids": "sorted"}, "ids without one"),
    ],
)
def test_arguments_are_checked_before_the_work(folder, thin, given, message):
    with pytest.raises((ValueError, OSError), match=message):
        evaluate(folder, thin, **{"output": "report.json"} | given)
    assert not list(Path().glob("report*"))


def test_progress_shows_the_running_error(folder, thin, monkeypatch):
    notes = []

    class Spy(Progress):
        def advance(self, count, note=""):
            super().advance(count, note)
            notes.append((self.start, self.count, self.total, note))

    monkeypatch.setattr(resume, "Progress", Spy)
    interrupted(monkeypatch, folder, thin)
    report = evaluate(folder, thin, output="report.json")
    assert [count for _, count, _, _ in notes] == list(range(1, COUNT + 1))
    assert {start for start, *_ in notes[16:]} == {16} and notes[0][2] == COUNT
    assert notes[-1][3] == f"top-1 error {report['top1_error']:.2f} %" == "top-1 error 90.00 %"


@pytest.mark.data
def test_imagenette_and_its_shuffled_flat_copy(data, thin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_folders = evaluate(data / "imagenette" / "val", thin)
    assert by_folders["pictures"] == 800 and len(by_folders["per_class"]) == 10
    flat(data / "imagenette" / "val", NUMBERS["sorted"])
    by_file = evaluate("flat", thin, truth="flat.txt")  # Tench is 0, which tells.
    assert {name: by_file[name] for name in SAME} == {name: by_folders[name] for name in SAME}
    assert by_file["truth"]["ids"] == "sorted"


@pytest.mark.data
def test_the_shipped_model_repeats_its_published_error(data):
    report = evaluate(data / "cifar10" / "test", "cifar10")
    published = 100 - REGISTRY["cifar10"].accuracy.top1
    assert report["read"] == 10_000
    assert report["top1_error"] == pytest.approx(16.91, abs=0.01) and published == pytest.approx(16.91)
    assert report["top1_wrong"] == sum(count for label, best, count in report["confusion"] if label != best)
    assert "only beside" not in report_table(report)
