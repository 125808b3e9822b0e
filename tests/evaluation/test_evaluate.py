"""The errors are those that NumPy counts, for every form of ground truth, number of crops and runtime."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.evaluation import COUNT, NET, PREPROCESSING, constant_parameters, results, save, stable
from support.nets import random_parameters

from tfalexnet import CheckpointError, evaluate
from tfalexnet.evaluation.report import report_table
from tfalexnet.exporters.export import EXPORTERS, export
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import classes_from_labels, ilsvrc_ids, imagenet_classes
from tfalexnet.inference import resume
from tfalexnet.io.progress import Progress


def test_errors_and_confusion_are_those_that_numpy_counts(complete, ranks, truth):
    top = ranks[1][:, :5]
    assert (complete["pictures"], complete["read"], complete["unreadable"]) == (COUNT, COUNT, [])
    assert complete["top1_wrong"] == int((top[:, 0] != truth).sum()) == 54
    assert complete["top5_wrong"] == int((top != truth[:, None]).all(axis=1).sum()) == 30
    assert (complete["top1_error"], complete["top5_error"]) == (90, 50)
    assert set(map(int, complete["per_class"])) == set(truth)
    for index, row in complete["per_class"].items():
        of = truth == int(index)
        assert (row["wnid"], row["name"]) == imagenet_classes()[int(index)] and row["read"] == of.sum()
        assert row["top1_error"] == pytest.approx(100 * (top[of, 0] != truth[of]).mean())
        assert row["top5_error"] == pytest.approx(100 * (top[of] != truth[of, None]).all(axis=1).mean())
    confusion = np.zeros((1000, 1000), int)
    np.add.at(confusion, (truth, top[:, 0]), 1)
    assert complete["confusion"] == [[t, p, confusion[t, p]] for t, p in np.argwhere(confusion).tolist()]


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_ten_crops_are_answered_by_their_mean(folder, thin, ranks, truth, engine):
    pytest.importorskip(engine)
    assert (ranks[1][:, :5] != ranks[10][:, :5]).any(axis=1).mean() > 0.5  # Else one crop would pass.
    report = evaluate(folder, thin, crops=10, batch=7, engine=engine)
    assert report["top1_wrong"] == (ranks[10][:, 0] != truth).sum()
    assert report["top5_wrong"] == (ranks[10][:, :5] != truth[:, None]).all(axis=1).sum()
    best = sorted(zip(truth.tolist(), ranks[10][:, 0].tolist(), strict=True))
    assert [pair for *pair, count in report["confusion"] for _ in range(count)] == [list(pair) for pair in best]
    assert report["protocol"]["engine"] == engine
    assert report["protocol"]["crops"] == 10 and "ten views of 32×32" in report["protocol"]["words"]


def test_of_equal_probabilities_the_class_of_the_lower_index_is_first(tmp_path):
    names = [f"class {index}" for index in range(100)]  # More than NumPy sorts stably by default.
    net = NET.with_classes(100)
    parameters = constant_parameters(net, [0, 1] * 50)
    file = save(tmp_path / "w.weights.h5", net, classes_from_labels(names), parameters)
    for name in names[:12]:
        os.makedirs(tmp_path / "set" / name)
        Image.new("RGB", (40, 40)).save(tmp_path / "set" / name / "x.png")
    report = evaluate(tmp_path / "set", file)
    assert report["confusion"] == [[index, 1, 1] for index in range(12)]
    assert [int(i) for i, row in report["per_class"].items() if not row["top5_wrong"]] == [1, 3, 5, 7, 9]


@pytest.mark.parametrize(("count", "top5_error"), [(5, None), (6, 100 / 3)])
def test_five_classes_have_a_top_1_error_only(tmp_path, count, top5_error):
    """Every picture is answered by the classes from the last to the first, so that a is the sixth of six."""
    net, names = NET.with_classes(count), "abcdef"[:count]
    parameters = constant_parameters(net, list(range(count)))
    file = save(tmp_path / "w.weights.h5", net, classes_from_labels(list(names)), parameters)
    for name in ("a/1", f"{names[-1]}/2", f"{names[-1]}/3"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "set" / f"{name}.png")
    report = evaluate(tmp_path / "set", file)
    assert report["top1_wrong"] == 1 and report["top1_error"] == pytest.approx(100 / 3)
    assert [report["per_class"][str(index)]["top1_error"] for index in (0, count - 1)] == [100, 0]
    assert report["top5_error"] == (top5_error and pytest.approx(top5_error))
    if count == 5:
        assert report["top5_wrong"] is report["per_class"]["0"]["top5_error"] is None
    table = report_table(report)
    assert "top-1 error       33.33 %" in table and ("top-5" in table) == (count == 6)
    assert "\npublished" not in table


NUMBERS = {
    "sorted": {wnid: index for index, (wnid, _) in enumerate(imagenet_classes())},
    "ilsvrc": {imagenet_classes()[index].wnid: number for number, index in ilsvrc_ids().items()},
}


def shuffle(folder, numbers):
    """Copy the pictures of class folders into one, shuffled and renamed; write their labels with and without names."""
    os.makedirs("flat")
    files = sorted(folder.glob("*/*"))
    np.random.default_rng(1).shuffle(files)
    names, labels = [], []
    for position, file in enumerate(files):
        names.append(f"{30_000 + position}{file.suffix}")
        labels.append(str(numbers[file.parent.name]))
        shutil.copy(file, f"flat/{names[-1]}")
    Path("named.txt").write_text("".join(f"{name} {label}\n" for name, label in zip(names, labels, strict=True)))
    Path("unnamed.txt").write_text("\n".join(labels))


@pytest.mark.parametrize("ids", NUMBERS)
def test_a_ground_truth_file_gives_the_results_of_class_folders(folder, thin, ids, complete):
    shuffle(folder, NUMBERS[ids])
    for truth in ("named.txt", "unnamed.txt"):
        report = evaluate("flat", thin, truth=truth, ids=ids, batch=11)
        assert results(report) == results(complete)
        assert report["truth"] == {"file": truth, "ids": ids, "unused": 0} and complete["truth"] is None
    with pytest.raises(ValueError, match="State which"):
        evaluate("flat", thin, truth="named.txt")


def test_the_wrong_numbering_gives_other_results(folder, thin, complete):
    shuffle(folder, NUMBERS["sorted"])
    assert results(evaluate("flat", thin, truth="named.txt", ids="ilsvrc")) != results(complete)


def test_unreadable_pictures_are_listed_and_count_in_no_error(folder, thin, complete):
    child = max(folder.iterdir())
    (child / "broken.png").write_bytes(b"no picture")
    (child / "empty.jpg").touch()
    (child / "gone.jpg").symlink_to("nowhere")
    report = evaluate(folder, thin, output="report.json")
    assert report["unreadable"] == [
        {"file": f"{child.name}/broken.png", "reason": "not a picture in a format that is read"},
        {"file": f"{child.name}/empty.jpg", "reason": "empty file"},
        {"file": f"{child.name}/gone.jpg", "reason": "no such file or directory"},
    ]
    assert report["pictures"] == COUNT + 3 and results(report) | {"pictures": COUNT} == results(complete)
    assert "unreadable   3" in report_table(report)


def test_a_folder_of_unreadable_pictures_is_an_error_and_leaves_no_file(folder, thin):
    for file in folder.glob("*/*"):
        file.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"set: expected pictures; none of {COUNT} can be read\. .*: empty file\."):
        evaluate(folder, thin, output="report.json")
    assert not list(Path().glob("report*"))


def test_the_report_is_returned_and_written(folder, thin, complete):
    report = evaluate(folder, thin, output="new/report.json")
    assert json.loads(Path("new/report.json").read_bytes()) == report
    assert os.listdir("new") == ["report.json"] and stable(report) == stable(complete)
    assert report["sha256"] == hashlib.sha256(thin.read_bytes()).hexdigest()
    mean = report["protocol"]["preprocessing"].pop("mean")
    assert mean == pytest.approx(PREPROCESSING.mean)
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
    with pytest.raises(FileExistsError):
        evaluate(folder, thin, output="new/report.json")


def test_outputs_that_are_not_finite_are_an_error(folder, tmp_path):
    net = NET.with_classes(1000)
    parameters = {name: (kernel * np.float32(1e30), bias) for name, (kernel, bias) in random_parameters(net).items()}
    file = save(tmp_path / "huge.weights.h5", net, imagenet_classes(), parameters)
    with pytest.raises(CheckpointError, match=r"huge\.weights\.h5: expected finite numbers; .*png with .*NaN"):
        evaluate(folder, file)


@pytest.mark.parametrize(("format", "package"), [("litert", "ai_edge_litert"), ("openvino", "openvino")])
@pytest.mark.usefixtures("folder")
def test_an_exported_file_is_evaluated_without_tensorflow(thin, format, package):
    runtime = pytest.importorskip(package)
    if "onnx" in EXPORTERS[format].PACKAGES:
        pytest.importorskip("onnx")
    file = export(thin, Path("out") / EXPORTERS[format].NAME.format("net"), format)
    code = (
        "import json, sys; from tfalexnet import evaluate\n"
        "print(json.dumps(evaluate('set', sys.argv[1])))\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    reference = evaluate("set", thin, engine="tensorflow")
    assert results(report) == results(reference)
    always = {"tfalexnet", "numpy", "pillow", "python"}
    assert set(report["versions"]) == {*always, package} and report["versions"][package] == runtime.__version__
    assert set(reference["versions"]) == {*always, "tensorflow", "keras"}
    assert reference["versions"]["tensorflow"] == tf.__version__


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"crops": 5}, "Expected 1 or 10 crops. Received: 5"),
        ({"batch": 0}, "Expected `batch` to be a positive integer. Received: batch=0"),
        ({"output": "set"}, "set: expected a file for the report; received a folder"),
        ({"ids": "sorted"}, "ids without one"),
    ],
)
def test_arguments_are_checked_before_the_weights_are_read(folder, given, message):
    with pytest.raises((ValueError, OSError), match=message):
        evaluate(folder, "missing.weights.h5", **{"output": "report.json"} | given)
    assert not list(Path().glob("report*"))


def test_progress_shows_the_running_error(folder, thin, monkeypatch, complete):
    notes = []

    class Recording(Progress):
        def advance(self, count, note=""):
            super().advance(count, note)
            notes.append((self.start, self.count, self.total, note))
            if len(notes) == 16:
                raise KeyboardInterrupt

    monkeypatch.setattr(resume, "Progress", Recording)
    with pytest.raises(KeyboardInterrupt):
        evaluate(folder, thin, output="report.json")
    evaluate(folder, thin, output="report.json")
    assert [note[:3] for note in notes] == [(0 if i <= 16 else 16, i, COUNT) for i in range(1, COUNT + 1)]
    assert notes[-1][3] == f"top-1 error {complete['top1_error']:.2f} %" == "top-1 error 90.00 %"


@pytest.fixture
def part_of(tmp_path):
    """A function that links every n-th picture of class folders into a new folder."""

    def link(folder: Path, n: int) -> Path:
        for file in sorted(folder.glob("*/*"))[::n]:
            linked = tmp_path / "part" / file.parent.name / file.name
            linked.parent.mkdir(parents=True, exist_ok=True)
            linked.symlink_to(file.resolve())
        return tmp_path / "part"

    return link


@pytest.mark.data
def test_photos_give_the_same_results_by_folder_and_by_file(data, thin, tmp_path, monkeypatch, part_of):
    monkeypatch.chdir(tmp_path)
    folder = part_of(data / "imagenette" / "val", 10)
    by_folders = evaluate(folder, thin)
    assert by_folders["pictures"] == 80 and len(by_folders["per_class"]) == 10
    shuffle(folder, NUMBERS["sorted"])
    by_file = evaluate("flat", thin, truth="named.txt")  # Tench has the number 0, which shows the numbering.
    assert results(by_file) == results(by_folders) and by_file["truth"]["ids"] == "sorted"


@pytest.mark.data
def test_the_shipped_weights_have_about_the_published_error_on_a_part_of_the_test_set(data, part_of):
    report = evaluate(part_of(data / "cifar10" / "test", 20), "cifar10")
    assert report["read"] == 500
    assert report["top1_error"] == pytest.approx(16.91, abs=5)  # Three standard deviations of 500 trials.


@pytest.mark.data
@pytest.mark.slow
def test_the_shipped_weights_have_the_published_error(data):
    report = evaluate(data / "cifar10" / "test", "cifar10")
    published = 100 - REGISTRY["cifar10"].accuracy.top1
    assert report["read"] == 10_000
    assert report["top1_error"] == pytest.approx(16.91, abs=0.01) and published == pytest.approx(16.91)
    assert report["top1_wrong"] == sum(count for label, best, count in report["confusion"] if label != best)
    assert "not comparable" not in report_table(report)
