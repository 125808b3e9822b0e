from . import class_map as class_map
from . import heatmap as heatmap
from . import neighbours as neighbours
from . import rdm as rdm
from . import receptive_field as receptive_field
