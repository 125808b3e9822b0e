from .dissimilarity import rdm as rdm
from .kernel_grid import filters as filters
