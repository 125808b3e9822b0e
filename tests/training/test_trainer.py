"""`train`: what a run leaves, initial weights, frozen layers, precision, and messages about the run."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from support.runs import NET, RECIPE, assert_same_checkpoints, bars, read_log, train, write_weights

import tfalexnet
from tfalexnet import data
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.networks.build import get_parameters
from tfalexnet.training import loop, run_folder, trainer
from tfalexnet.training.events import read_filters
from tfalexnet.training.run_folder import TrainingError


def test_a_run_leaves_model_log_description_and_events(tmp_path, capsys, monkeypatch):
    drawn = []

    def record(folder, net, rows):  # At this moment the filters must be on the disk.
        drawn.append((folder, net.name, len(rows), len(read_filters(folder, "conv1"))))

    monkeypatch.setattr(run_folder, "write_figures", record)
    model = train(tmp_path / "run", 4)
    rows = read_log(tmp_path / "run")
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["validation_error"]) <= 30 < float(rows[0]["error"])
    assert drawn == [(tmp_path / "run", "mnist_28", 4, 4)]
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    assert description["classes"] == ["down", "across", "none"] and description["options"]["seed"] == 2012
    assert description["training"]["sha256"] == bars(64).digest() and "tensorflow" in description["versions"]
    output = capsys.readouterr().out
    assert "mnist_28: 64 pictures of 3 classes, 40 for validation; epochs: 4, steps per epoch: 4, batch: 16" in output
    assert "epoch 4/4: loss" in output
    picture = np.zeros((28, 28), "uint8")
    picture[10:18] = 200
    spec = read_checkpoint(model).spec
    assert spec.architecture == NET.with_classes(3) and [name for _, name in spec.classes] == ["down", "across", "none"]
    answer = tfalexnet.AlexNet(spec.architecture, weights=model)(spec.preprocessing(picture)[None]).numpy()
    assert answer.argmax() == 1
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    tags = set()
    for record in tf.compat.v1.io.tf_record_iterator(str(events)):
        tags |= {value.tag for value in tf.compat.v1.Event.FromString(record).summary.value}
    assert {"loss", "epoch_loss", "error", "learning_rate", "validation_error", "conv1"} <= tags


def test_more_epochs_train_further_and_the_same_number_does_nothing(one_epoch, two_epochs, run, capsys):
    events = sorted((run / "tensorboard").iterdir())
    train(run, 1)
    assert f"All epochs are done already, {run}" in capsys.readouterr().out
    assert_same_checkpoints(run, one_epoch)
    assert sorted((run / "tensorboard").iterdir()) == events
    train(run, 2)
    assert f"Resuming epoch 2 at picture 0, in {run}" in capsys.readouterr().out
    assert_same_checkpoints(run, two_epochs)


def test_the_model_of_the_best_epoch_is_kept_and_training_stops_early(tmp_path, capsys, monkeypatch):
    errors, parameters = iter((50.0, 40.0, 45.0, 40.0, 30.0)), []

    def validate(trainer):
        parameters.append(get_parameters(trainer.model))
        return {"validation_loss": 1.0, "validation_error": next(errors)}

    monkeypatch.setattr(loop.Trainer, "_validate", validate)
    model = train(tmp_path / "run", 9, early_stopping=2)
    assert len(read_log(tmp_path / "run")) == 4
    best = tmp_path / "run" / "best.weights.h5"
    assert f"Epoch 2 is the first with the lowest validation error, 40.0 %: {best}" in capsys.readouterr().out
    for path, expected in ((best, parameters[1]), (model, parameters[3])):
        for layer, arrays in read_checkpoint(path).parameters.items():
            np.testing.assert_array_equal(arrays[0], expected[layer][0])
    train(tmp_path / "run", 9, early_stopping=2)
    assert "Stopped early already, after epoch 4; the best was 2, " in capsys.readouterr().out
    train(tmp_path / "run", 5, early_stopping=3)
    assert len(read_log(tmp_path / "run")) == 5 and "lowest" not in capsys.readouterr().out


def test_notes_on_initial_weights_are_not_repeated_on_resuming(tmp_path, recwarn):
    write_weights(tmp_path / "old.weights.h5")
    train(tmp_path / "run", 1, weights=tmp_path / "old.weights.h5")
    assert any("gets new weights" in str(warning.message) for warning in recwarn.list)
    recwarn.clear()
    train(tmp_path / "run", 2, weights=tmp_path / "old.weights.h5")
    assert not any("gets new weights" in str(warning.message) for warning in recwarn.list)


def test_a_new_classifier_does_not_have_the_old_weights(two_epochs, tmp_path, capsys):
    weights = two_epochs / "model.weights.h5"
    with pytest.warns(UserWarning, match="fc3 of .* gets new weights for 3 classes"):
        model = train(tmp_path / "run", 1, weights=weights, new_classifier=True, freeze_until="fc3", seed=7)
    assert "before training" not in capsys.readouterr().out
    old, new = read_checkpoint(weights).parameters, read_checkpoint(model).parameters
    np.testing.assert_array_equal(old["fc2"][0], new["fc2"][0])
    assert np.abs(old["fc3"][0] - new["fc3"][0]).mean() > 0.1


def test_fewer_epochs_than_are_done_are_an_error(two_epochs):
    description = (two_epochs / "run.json").read_bytes()
    with pytest.raises(ValueError, match="Expected at least the 2 epochs that are done in .*run. Received: 1"):
        train(two_epochs, 1)
    assert (two_epochs / "run.json").read_bytes() == description


def test_a_cosine_that_is_stretched_is_reported(tmp_path, capsys):
    recipe = dataclasses.replace(RECIPE, schedule="cosine")
    train(tmp_path / "run", 1, recipe)
    assert "cosine" not in capsys.readouterr().out
    train(tmp_path / "run", 2, recipe)
    assert "The cosine of the learning rate now ends with epoch 2, not 1" in capsys.readouterr().out


def test_the_origin_of_a_run_is_recorded_and_may_change(run):
    before = json.loads((run / "run.json").read_text())
    assert before["origin"] == {"strategy": None}
    train(run, 1, origin={"data": "/a", "command": "tfalexnet train /a"}, strict=True)
    after = json.loads((run / "run.json").read_text())
    assert after["origin"] == {"strategy": None, "data": "/a", "command": "tfalexnet train /a"}
    assert {name for name in after if after[name] != before[name]} == {"origin", "options"}
    with pytest.raises(ValueError, match="of another: --seed was 2012, is 1. Choose"):
        train(run, 1, seed=1)


def test_initial_weights_with_a_classifier_are_evaluated_before_the_first_step(two_epochs, tmp_path, capsys):
    error = read_log(two_epochs)[-1]["validation_error"]
    weights = two_epochs / "model.weights.h5"
    train(tmp_path / "new", 1, weights=weights)
    output = capsys.readouterr().out
    assert f", validation error {float(error):.1f} %" in output.split("before training: ")[1].splitlines()[0]
    train(tmp_path / "new", 2, weights=weights)
    assert "before training" not in capsys.readouterr().out


def test_random_weights_are_not_evaluated_before_the_first_step(tmp_path, capsys):
    train(tmp_path / "run", 1)
    assert "before training" not in capsys.readouterr().out


def test_frozen_layers_do_not_change(tmp_path):
    parameters = write_weights(tmp_path / "old.weights.h5")
    with pytest.warns(UserWarning, match="fc3 .* gets new weights"):
        model = train(tmp_path / "run", 1, weights=tmp_path / "old.weights.h5", freeze_until="fc2")
    trained = read_checkpoint(model).parameters
    for name, frozen in {"conv1": True, "fc2": False}.items():
        for before, after in zip(parameters[name], trained[name], strict=True):
            assert np.array_equal(before, after) == frozen
    assert trained["fc3"][0].shape == (32, 3)


def test_freezing_requires_weights_and_a_layer_with_weights(two_epochs, tmp_path):
    with pytest.raises(ValueError, match="Expected `weights` with `freeze_until`"):
        train(tmp_path / "run", freeze_until="fc2")
    with pytest.raises(ValueError, match="Expected `freeze_until` to be one of conv1, fc2, fc3. Received: 'pool1'"):
        train(tmp_path / "run", weights=two_epochs / "model.weights.h5", freeze_until="pool1")
    assert not (tmp_path / "run").exists()


def test_the_first_convolution_may_have_any_name(tmp_path):
    net = dataclasses.replace(NET, layers=(dataclasses.replace(NET.layers[0], name="entry"), *NET.layers[1:]))
    trainer.train(bars(16), bars(8), net, dataclasses.replace(RECIPE, epochs=1), tmp_path / "run")
    assert len(read_log(tmp_path / "run")) == 1


def test_a_network_that_a_model_file_cannot_state_is_refused_before_the_run(tmp_path):
    net = dataclasses.replace(NET, layers=NET.layers[3:])
    with pytest.raises(ValueError, match="expected at least one Conv"):
        trainer.train(bars(16), bars(8), net, RECIPE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_mixed_precision_trains_and_resets_the_policy_of_keras(tmp_path):
    train(tmp_path / "run", 4, precision="mixed_bfloat16")
    assert float(read_log(tmp_path / "run")[-1]["validation_error"]) < 40
    assert tf.keras.config.dtype_policy().name == "float32"


def test_a_wrong_argument_does_not_create_the_folder(tmp_path):
    with pytest.raises(ValueError, match="Expected a batch of 1 to 64"):
        train(tmp_path / "run", recipe=dataclasses.replace(RECIPE, batch=1000))
    assert not (tmp_path / "run").exists()


def test_too_little_memory_is_one_line():
    error = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    with pytest.raises(TrainingError, match="smaller --batch-size"), trainer._translate_errors(data.Skipped()):
        raise error


def test_a_lost_worker_is_one_line():
    with pytest.raises(TrainingError, match="Another worker is gone"), trainer._translate_errors(data.Skipped()):
        raise tf.errors.UnavailableError(None, None, "Connection reset by peer")
