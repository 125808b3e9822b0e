"""Training recipes: the public names of `tfalexnet.training`."""

from tfalexnet.training.optimizer import Momentum
from tfalexnet.training.recipes import CAFFE, FINE_TUNE, PAPER, RECIPES, SCHEDULES, SOURCES, Recipe, paper, recipe

__all__ = ["CAFFE", "FINE_TUNE", "PAPER", "RECIPES", "SCHEDULES", "SOURCES", "Momentum", "Recipe", "paper", "recipe"]
