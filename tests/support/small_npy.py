"""A small BVLC AlexNet with random weights, and the `.npy` that holds them."""

from support.nets import random_parameters, small
from tfalexnet.networks.catalog import BVLC_ALEXNET

NET = small(BVLC_ALEXNET)
PARAMETERS = random_parameters(NET)
LAST = NET.classifier.name
