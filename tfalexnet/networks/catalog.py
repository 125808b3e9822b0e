"""Every network is a table, beside its source.

One line is one layer, in the order in which a picture passes them; the comment on the line is the
shape that leaves it, H×W×C. Variants differ as data: `dataclasses.replace` makes a new one.

Common sources, cited below by their short names:

- *paper*: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
  Networks", NIPS 2012.
- *code*: the source released by the Computer History Museum, repository
  computerhistory/AlexNet-Source-Code.
- *Caffe*: repository BVLC/caffe, folder models/.
"""

from __future__ import annotations

import dataclasses

from tfalexnet.io.terminal import format_table
from tfalexnet.networks.spec import Activation, Architecture, Conv, Dense, Dropout, Flatten, Norm, Normal, Pad, Pool

# The paper, with the numbers of code/layers/layers-145.cfg and layer-params-145.cfg, one row per
# layer of the two towers together. `groups=2` is a layer whose towers do not see each other.
# Normalisation: the paper writes k + α Σ a²; the code that made the published numbers divides α by
# the five summed terms (layer.py: scale /= size), and so does this table. `divide_alpha=False` in
# norm1 and norm2 is the paper's reading.
# Input: 227 pixels a side, since 224 as printed does not give the 55×55 of the same paper.
KRIZHEVSKY2012 = Architecture(
    "krizhevsky2012",
    "Krizhevsky et al., NIPS 2012; computerhistory/AlexNet-Source-Code, layers/layers-145.cfg",
    input_shape=(227, 227, 3),
    layers=(
        Conv("conv1", 96, 11, stride=4, kernel_init=Normal(0.01)),  # 55×55×96
        Norm("norm1", 5, alpha=1e-4, beta=0.75, k=2, groups=2),
        Pool("pool1"),  # 27×27×96
        Conv("conv2", 256, 5, padding="same", groups=2, kernel_init=Normal(0.01), bias_init=1),  # 27×27×256
        Norm("norm2", 5, alpha=1e-4, beta=0.75, k=2, groups=2),
        Pool("pool2"),  # 13×13×256
        Conv("conv3", 384, 3, padding="same", kernel_init=Normal(0.03)),  # 13×13×384
        Conv("conv4", 384, 3, padding="same", groups=2, kernel_init=Normal(0.03), bias_init=1),  # 13×13×384
        Conv("conv5", 256, 3, padding="same", groups=2, kernel_init=Normal(0.03), bias_init=1),  # 13×13×256
        Pool("pool5"),  # 6×6×256
        Flatten(),  # 9216
        Dense("fc6", 4096, kernel_init=Normal(0.01), bias_init=1),  # 4096
        Dropout("drop6"),
        Dense("fc7", 4096, kernel_init=Normal(0.01), bias_init=1),  # 4096
        Dropout("drop7"),
        Dense("fc8", 1000, activation=None, kernel_init=Normal(0.01)),  # 1000
    ),
)

# Caffe/bvlc_alexnet. Beside the paper: normalisation across all channels with k = 1, initial
# biases .1 where the paper has 1, fc6 and fc7 drawn from N(0, .005).
BVLC_ALEXNET = Architecture(
    "bvlc_alexnet",
    "BVLC/caffe, models/bvlc_alexnet",
    input_shape=(227, 227, 3),
    layers=(
        Conv("conv1", 96, 11, stride=4, kernel_init=Normal(0.01)),  # 55×55×96
        Norm("norm1", 5, alpha=1e-4, beta=0.75),
        Pool("pool1"),  # 27×27×96
        Conv("conv2", 256, 5, padding="same", groups=2, kernel_init=Normal(0.01), bias_init=0.1),  # 27×27×256
        Norm("norm2", 5, alpha=1e-4, beta=0.75),
        Pool("pool2"),  # 13×13×256
        Conv("conv3", 384, 3, padding="same", kernel_init=Normal(0.01)),  # 13×13×384
        Conv("conv4", 384, 3, padding="same", groups=2, kernel_init=Normal(0.01), bias_init=0.1),  # 13×13×384
        Conv("conv5", 256, 3, padding="same", groups=2, kernel_init=Normal(0.01), bias_init=0.1),  # 13×13×256
        Pool("pool5"),  # 6×6×256
        Flatten(),  # 9216
        Dense("fc6", 4096, kernel_init=Normal(0.005), bias_init=0.1),  # 4096
        Dropout("drop6"),
        Dense("fc7", 4096, kernel_init=Normal(0.005), bias_init=0.1),  # 4096
        Dropout("drop7"),
        Dense("fc8", 1000, activation=None, kernel_init=Normal(0.01)),  # 1000
    ),
)

# Caffe/bvlc_reference_caffenet: pool before norm, initial biases 1 as in the paper.
BVLC_CAFFENET = Architecture(
    "bvlc_caffenet",
    "BVLC/caffe, models/bvlc_reference_caffenet",
    input_shape=(227, 227, 3),
    layers=(
        Conv("conv1", 96, 11, stride=4, kernel_init=Normal(0.01)),  # 55×55×96
        Pool("pool1"),  # 27×27×96
        Norm("norm1", 5, alpha=1e-4, beta=0.75),
        Conv("conv2", 256, 5, padding="same", groups=2, kernel_init=Normal(0.01), bias_init=1),  # 27×27×256
        Pool("pool2"),  # 13×13×256
        Norm("norm2", 5, alpha=1e-4, beta=0.75),
        Conv("conv3", 384, 3, padding="same", kernel_init=Normal(0.01)),  # 13×13×384
        Conv("conv4", 384, 3, padding="same", groups=2, kernel_init=Normal(0.01), bias_init=1),  # 13×13×384
        Conv("conv5", 256, 3, padding="same", groups=2, kernel_init=Normal(0.01), bias_init=1),  # 13×13×256
        Pool("pool5"),  # 6×6×256
        Flatten(),  # 9216
        Dense("fc6", 4096, kernel_init=Normal(0.005), bias_init=1),  # 4096
        Dropout("drop6"),
        Dense("fc7", 4096, kernel_init=Normal(0.005), bias_init=1),  # 4096
        Dropout("drop7"),
        Dense("fc8", 1000, activation=None, kernel_init=Normal(0.01)),  # 1000
    ),
)

# Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as torchvision
# builds it. Its adaptive pooling to 6×6 meets exactly 6×6 at 224 pixels, so plain pooling serves.
ONE_WEIRD_TRICK = Architecture(
    "one_weird_trick",
    "Krizhevsky 2014, arXiv:1404.5997; pytorch/vision, torchvision/models/alexnet.py",
    input_shape=(224, 224, 3),
    layers=(
        Pad("pad1", 2),  # 228×228×3
        Conv("conv1", 64, 11, stride=4),  # 55×55×64
        Pool("pool1"),  # 27×27×64
        Conv("conv2", 192, 5, padding="same"),  # 27×27×192
        Pool("pool2"),  # 13×13×192
        Conv("conv3", 384, 3, padding="same"),  # 13×13×384
        Conv("conv4", 256, 3, padding="same"),  # 13×13×256
        Conv("conv5", 256, 3, padding="same"),  # 13×13×256
        Pool("pool5"),  # 6×6×256
        Flatten(),  # 9216
        Dropout("drop6"),
        Dense("fc6", 4096),  # 4096
        Dropout("drop7"),
        Dense("fc7", 4096),  # 4096
        Dense("fc8", 1000, activation=None),  # 1000
    ),
)

# bvlc_alexnet's weights under a conv1 padded SAME, as the widely copied script ran them: 57, 28, 13
# and 6 pixels a side after conv1, pool1, pool2 and pool5, so that every later shape agrees and the
# answers are wrong. Kept to reproduce what its users saw.
TF_ALEXNET = dataclasses.replace(
    BVLC_ALEXNET.replace_layers(conv1=dataclasses.replace(BVLC_ALEXNET.layers[0], padding="same")),
    name="tf_alexnet",
    source="M. Guerzhoy, www.cs.toronto.edu/~guerzhoy/tf_alexnet, myalexnet_forward.py",
)

# One tower, no normalisation, two classes.
SINGLE_TOWER = Architecture(
    "single_tower",
    "cats-against-dogs AlexNet in one tower: 4096-4096-2, Adam .001, batch 32, 10 epochs",
    input_shape=(227, 227, 3),
    layers=(
        Conv("conv1", 96, 11, stride=4),  # 55×55×96
        Pool("pool1"),  # 27×27×96
        Conv("conv2", 256, 5, padding="same"),  # 27×27×256
        Pool("pool2"),  # 13×13×256
        Conv("conv3", 384, 3, padding="same"),  # 13×13×384
        Conv("conv4", 384, 3, padding="same"),  # 13×13×384
        Conv("conv5", 256, 3, padding="same"),  # 13×13×256
        Pool("pool5"),  # 6×6×256
        Flatten(),  # 9216
        Dense("fc6", 4096),  # 4096
        Dropout("drop6"),
        Dense("fc7", 4096),  # 4096
        Dropout("drop7"),
        Dense("fc8", 2, activation=None),  # 2
    ),
)

# Average pooling before normalisation; TensorFlow's undivided alpha over eleven channels.
SINGLE_TOWER_AVGPOOL = Architecture(
    "single_tower_avgpool",
    "cats-against-dogs AlexNet in one tower with average pooling: 4096-2048-2, plain gradient descent",
    input_shape=(227, 227, 3),
    layers=(
        Conv("conv1", 96, 11, stride=4, kernel_init=Normal(1e-4, truncated=True)),  # 55×55×96
        Pool("pool1", kind="average"),  # 27×27×96
        Norm("norm1", 11, alpha=0.001 / 9, beta=0.75, divide_alpha=False),
        Conv("conv2", 256, 5, padding="same", kernel_init=Normal(0.01, truncated=True), bias_init=0.1),  # 27×27×256
        Pool("pool2", kind="average"),  # 13×13×256
        Norm("norm2", 11, alpha=0.001 / 9, beta=0.75, divide_alpha=False),
        Conv("conv3", 384, 3, padding="same", kernel_init=Normal(0.01, truncated=True), bias_init=0.1),  # 13×13×384
        Conv("conv4", 384, 3, padding="same", kernel_init=Normal(0.01, truncated=True), bias_init=0.1),  # 13×13×384
        Conv("conv5", 256, 3, padding="same", kernel_init=Normal(0.01, truncated=True), bias_init=0.1),  # 13×13×256
        Pool("pool5", kind="average"),  # 6×6×256
        Flatten(),  # 9216
        Dense("fc6", 4096, kernel_init=Normal(0.1, truncated=True), bias_init=0.1),  # 4096
        Dropout("drop6"),
        Dense("fc7", 2048, kernel_init=Normal(0.1, truncated=True), bias_init=0.1),  # 2048
        Dropout("drop7"),
        Dense("fc8", 2, activation=None, kernel_init=Normal(0.1, truncated=True)),  # 2
    ),
)

# "Dive into Deep Learning" on one-channel pictures, 28×28 enlarged to 224×224.
D2L_FASHION_MNIST = Architecture(
    "d2l_fashion_mnist",
    "Zhang, Lipton, Li, Smola, Dive into Deep Learning, section 8.1 (AlexNet)",
    input_shape=(224, 224, 1),
    layers=(
        Conv("conv1", 96, 11, stride=4),  # 54×54×96
        Pool("pool1"),  # 26×26×96
        Conv("conv2", 256, 5, padding="same"),  # 26×26×256
        Pool("pool2"),  # 12×12×256
        Conv("conv3", 384, 3, padding="same"),  # 12×12×384
        Conv("conv4", 384, 3, padding="same"),  # 12×12×384
        Conv("conv5", 256, 3, padding="same"),  # 12×12×256
        Pool("pool5"),  # 5×5×256
        Flatten(),  # 6400
        Dense("fc6", 4096),  # 4096
        Dropout("drop6"),
        Dense("fc7", 4096),  # 4096
        Dropout("drop7"),
        Dense("fc8", 10, activation=None),  # 10
    ),
)

# The small net that TensorFlow tutorials call AlexNet: three convolutions on 28×28 digits.
MNIST_28 = Architecture(
    "mnist_28",
    "early TensorFlow tutorial network for MNIST: 64-128-256 filters, 1024-1024-10, Adam .001, batch 64",
    input_shape=(28, 28, 1),
    layers=(
        Conv("conv1", 64, 3, padding="same"),  # 28×28×64
        Pool("pool1", size=2, padding="same"),  # 14×14×64
        Norm("norm1", 9, alpha=0.001 / 9, beta=0.75, divide_alpha=False),
        Dropout("drop1", 0.2),
        Conv("conv2", 128, 3, padding="same"),  # 14×14×128
        Pool("pool2", size=2, padding="same"),  # 7×7×128
        Norm("norm2", 9, alpha=0.001 / 9, beta=0.75, divide_alpha=False),
        Dropout("drop2", 0.2),
        Conv("conv3", 256, 3, padding="same"),  # 7×7×256
        Pool("pool3", size=2, padding="same"),  # 4×4×256
        Norm("norm3", 9, alpha=0.001 / 9, beta=0.75, divide_alpha=False),
        Dropout("drop3", 0.2),
        Flatten(),  # 4096
        Dense("fc4", 1024),  # 1024
        Dense("fc5", 1024),  # 1024
        Dense("fc6", 10, activation=None),  # 10
    ),
)

# Every convolution and pooling padded SAME; tanh in the hidden layers; normalisation after pooling.
TFLEARN_FLOWERS17 = Architecture(
    "tflearn_flowers17",
    "tflearn/tflearn, examples/images/alexnet.py (Oxford 17 flowers)",
    input_shape=(227, 227, 3),
    layers=(
        Conv("conv1", 96, 11, stride=4, padding="same"),  # 57×57×96
        Pool("pool1", padding="same"),  # 29×29×96
        Norm("norm1", 11, alpha=1e-4, beta=0.75, divide_alpha=False),
        Conv("conv2", 256, 5, padding="same"),  # 29×29×256
        Pool("pool2", padding="same"),  # 15×15×256
        Norm("norm2", 11, alpha=1e-4, beta=0.75, divide_alpha=False),
        Conv("conv3", 384, 3, padding="same"),  # 15×15×384
        Conv("conv4", 384, 3, padding="same"),  # 15×15×384
        Conv("conv5", 256, 3, padding="same"),  # 15×15×256
        Pool("pool5", padding="same"),  # 8×8×256
        Norm("norm5", 11, alpha=1e-4, beta=0.75, divide_alpha=False),
        Flatten(),  # 16384
        Dense("fc6", 4096, activation="tanh"),  # 4096
        Dropout("drop6"),
        Dense("fc7", 4096, activation="tanh"),  # 4096
        Dropout("drop7"),
        Dense("fc8", 17, activation=None),  # 17
    ),
)

# Krizhevsky's CIFAR-10 net of 18 % test error: normalisation inside each channel, over 3×3 windows;
# the first layer pools before its ReLU.
CIFAR10_18PCT = Architecture(
    "cifar10_18pct",
    "A. Krizhevsky, cuda-convnet, layers-cifar/layers-18pct.cfg",
    input_shape=(32, 32, 3),
    layers=(
        Conv("conv1", 32, 5, padding="same", activation=None, kernel_init=Normal(1e-4)),  # 32×32×32
        Pool("pool1", padding="same"),  # 16×16×32
        Activation("relu1", "relu"),
        Norm("norm1", 3, alpha=5e-5, beta=0.75, region="within_channel"),
        Conv("conv2", 32, 5, padding="same", kernel_init=Normal(0.01)),  # 16×16×32
        Pool("pool2", kind="average", padding="same"),  # 8×8×32
        Norm("norm2", 3, alpha=5e-5, beta=0.75, region="within_channel"),
        Conv("conv3", 64, 5, padding="same", kernel_init=Normal(0.01)),  # 8×8×64
        Pool("pool3", kind="average", padding="same"),  # 4×4×64
        Flatten(),  # 1024
        Dense("fc4", 10, activation=None, kernel_init=Normal(0.01)),  # 10
    ),
)

ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        KRIZHEVSKY2012,
        BVLC_ALEXNET,
        BVLC_CAFFENET,
        ONE_WEIRD_TRICK,
        TF_ALEXNET,
        SINGLE_TOWER,
        SINGLE_TOWER_AVGPOOL,
        D2L_FASHION_MNIST,
        MNIST_28,
        TFLEARN_FLOWERS17,
        CIFAR10_18PCT,
    )
}


def get_architecture(architecture: str | Architecture) -> Architecture:
    """The table of a name; a table passes through.

    Raises:
        ValueError: no network has this name; the message lists those that exist.
    """
    if isinstance(architecture, Architecture):
        return architecture
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"Expected `architecture` to be one of {', '.join(ARCHITECTURES)}. "
            f"Received: architecture={architecture!r}"
        )
    return ARCHITECTURES[architecture]


def architectures_table() -> str:
    """Name, input, classes and source of each, as lines of text."""
    rows = []
    for net in ARCHITECTURES.values():
        rows.append((net.name, "×".join(map(str, net.input_shape)), f"{net.classes} classes", net.source))
    return format_table(rows, right=(2,))
