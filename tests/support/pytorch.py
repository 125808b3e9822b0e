"""torchvision's AlexNet, written with PyTorch's modules for layers of any size."""

import numpy as np

from tfalexnet.networks.spec import Architecture


def torch_module(net: Architecture, parameters: dict):
    """The module of a table like one_weird_trick, with these weights; softmax is its last step."""
    import torch
    from torch import nn

    conv = {row.name: row for row in net.weighted if hasattr(row, "filters")}
    dense = {row.name: row for row in net.weighted if hasattr(row, "units")}
    (inside, _), _ = net.parameter_shapes()["fc6"]
    hidden, hidden2, classes = (dense[name].units for name in ("fc6", "fc7", "fc8"))
    filters = [row.filters for row in conv.values()]

    class AlexNet(nn.Module):
        def __init__(self):
            super().__init__()
            a, b, c, d, e = filters
            self.features = nn.Sequential(
                *(nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, d, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(d, e, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
            )
            self.classifier = nn.Sequential(
                *(nn.Dropout(), nn.Linear(inside, hidden), nn.ReLU(), nn.Dropout()),
                *(nn.Linear(hidden, hidden2), nn.ReLU(), nn.Linear(hidden2, classes)),
            )

        def forward(self, x):
            return self.classifier(torch.flatten(self.features(x), 1)).softmax(1)

    module = AlexNet().eval()
    weighted = [layer for layer in module.modules() if hasattr(layer, "weight")]
    for layer, (name, (kernel, bias)) in zip(weighted, parameters.items(), strict=True):
        if name == "fc6":
            side, _, channels = net.flattened
            kernel = kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        layer.weight.data = torch.from_numpy(np.ascontiguousarray(kernel))
        layer.bias.data = torch.from_numpy(bias.copy())
    return module
