"""The command `convert`: what it prints, what to type next, and wrong arguments."""

import click
import pytest
from support.command import parse, run
from support.nets import random_parameters, write_npy

from tfalexnet.checkpoints.formats import keras_h5
from tfalexnet.networks.catalog import BVLC_ALEXNET, CIFAR10_18PCT


def test_it_prints_layers_result_and_next_command(tmp_path, capsys):
    write_npy(tmp_path / "places.npy", random_parameters(BVLC_ALEXNET.with_classes(2)))
    result = run(capsys, "convert", "places.npy", "--output", "my net.weights.h5", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "conv2  5×5×48×256" in result.stdout
    assert "bvlc_alexnet, 2 classes, written to my net.weights.h5" in result.stdout
    assert result.stdout.splitlines()[-1] == "Next: tfalexnet predict PHOTO --weights 'my net.weights.h5'"
    assert len(keras_h5.read(tmp_path / "my net.weights.h5").parameters) == 8


def test_layers_are_renamed_and_class_names_are_stored(tmp_path, capsys):
    parameters = random_parameters(CIFAR10_18PCT.with_classes(2))
    parameters["last"] = parameters.pop("fc4")
    write_npy(tmp_path / "net.npy", parameters)
    (tmp_path / "names.txt").write_text("Käse\nBrot\n", "utf-8")
    flags = ("--architecture", "cifar10_18pct", "--map", "last=fc4", "--labels", "names.txt")
    result = run(capsys, "convert", "net.npy", *flags, cwd=tmp_path)
    assert result.returncode == 0 and "written to weights/net.weights.h5" in result.stdout
    assert "Käse" in run(capsys, "info", "weights/net.weights.h5", cwd=tmp_path).stdout


@pytest.mark.parametrize("value", ["last", "=fc4", "last="])
def test_a_map_that_is_not_old_and_new_is_a_usage_error(value, capsys):
    result = run(capsys, "convert", "net.npy", "--map", value)
    assert result.returncode == 2 and f"expected OLD=NEW, received '{value}'" in result.stderr


def test_weights_without_a_classifier_get_no_next_command(tmp_path, capsys):
    parameters = random_parameters(CIFAR10_18PCT)
    del parameters["fc4"]
    write_npy(tmp_path / "net.npy", parameters)
    result = run(capsys, "convert", "net.npy", "--architecture", "cifar10_18pct", cwd=tmp_path)
    assert result.returncode == 0 and "Next:" not in result.stdout
    assert result.stdout.splitlines()[-1] == "cifar10_18pct, no classifier, written to weights/net.weights.h5"


def test_an_output_that_cannot_be_written_is_one_line(tmp_path, capsys):
    write_npy(tmp_path / "net.npy", random_parameters(CIFAR10_18PCT))
    (tmp_path / "file").touch()
    arguments = ("convert", "net.npy", "--architecture", "cifar10_18pct", "--output", "file/net.weights.h5")
    result = run(capsys, *arguments, cwd=tmp_path)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1 and "file" in result.stderr


def test_the_mean_is_numbers_between_commas():
    assert parse("convert", "net.npy", "--mean", "104,117,123.5")["mean"] == (104, 117, 123.5)
    with pytest.raises(click.UsageError, match=r"expected numbers between commas or .*, received '104;117'"):
        parse("convert", "net.npy", "--mean", "104;117")
