"""The example figure1.py: the log of each setting, and the verdict on two curves."""

import importlib.util
import math

import pytest
from absl.testing import flagsaver
from support import ROOT

spec = importlib.util.spec_from_file_location("figure1", ROOT / "examples" / "figure1.py")
figure1 = importlib.util.module_from_spec(spec)
spec.loader.exec_module(figure1)


@pytest.mark.parametrize(
    "settings, name",
    [
        ({}, "relu_0.003.csv"),
        ({"epochs": "60", "seed": "2012"}, "relu_0.003.csv"),
        ({"epochs": "30"}, "relu_0.003_epochs30.csv"),
        ({"epochs": "30", "seed": "1"}, "relu_0.003_epochs30_seed1.csv"),
    ],
)
def test_other_settings_have_another_log(settings, name):
    with flagsaver.as_parsed(output="runs", **settings):
        assert figure1.log_of("relu", "0.0030").as_posix() == f"runs/{name}"


@pytest.mark.parametrize(
    "relu, tanh, verdict",
    [
        (4.0, 14.0, "tanh needs 3.5 times as many epochs as ReLU"),
        (4.0, math.inf, "tanh needs more than 15.0 times as many"),
        (math.inf, 4.0, "ReLU does not reach 25% in 60 epochs"),
        (math.inf, math.inf, "ReLU does not reach 25% in 60 epochs"),
    ],
)
def test_the_verdict_on_epochs_states_curves_that_miss_the_target(relu, tanh, verdict):
    with flagsaver.as_parsed(epochs="60"):
        assert figure1.verdict(relu, tanh).startswith(verdict)
