from .answers import top5 as top5
from .dissimilarity import rdm as rdm
from .kernel_grid import filters as filters
from .maps import class_map as class_map
from .maps import heatmap as heatmap
from .nearest import neighbours as neighbours
from .network_drawing import architecture as architecture
