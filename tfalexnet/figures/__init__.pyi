from .kernel_grid import filters as filters
