"""The published networks, each a table beside its source.

Each line is one layer, in the order of computation; the comment on the line is the shape of its output,
height×width×channels. Without a comment, the shape is that of the line above. To define a variant, use
`dataclasses.replace` or `Architecture.replace_layers`.

Sources cited below by their short names:

- *paper*: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
  Networks", NIPS 2012.
- *code*: the source released by the Computer History Museum, repository
  computerhistory/AlexNet-Source-Code.
- *Caffe*: repository BVLC/caffe, folder models/.
"""

import dataclasses

from tfalexnet.io.terminal import format_table, suggestion
from tfalexnet.networks.spec import Activation, Architecture, Conv, Dense, Dropout, Flatten, Norm, Normal, Pad, Pool

# The paper's network, with the numbers of code/layers/layers-145.cfg and layer-params-145.cfg. One row
# describes both towers; with `groups=2`, the towers of a layer are independent of each other.
# Normalisation: the paper writes k + α Σ a². The code with which the published results were computed
# divides α by the five summed terms (layer.py: scale /= size), and so does this table. For the paper's
# formula, set `divide_alpha=False` in norm1 and norm2.
# Input: 227×227 pixels, because the paper's 224×224 does not give its 55×55 outputs of conv1.
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

# Caffe, bvlc_alexnet. It differs from the paper in the normalisation, which is across all channels and
# has k = 1; in the initial biases, 0.1 instead of 1; and in the initial kernels of fc6 and fc7, with a
# standard deviation of 0.005.
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

# Caffe, bvlc_reference_caffenet: pooling before normalisation, and initial biases 1 as in the paper.
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

# Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as implemented in
# torchvision. Its adaptive pooling to 6×6 is omitted: with 224×224 inputs, pool5 returns 6×6 already.
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

# bvlc_alexnet with SAME padding in conv1, as in a widely copied script that uses bvlc_alexnet's weights.
# The outputs of conv1, pool1, pool2 and pool5 have sides of 57, 28, 13 and 6 pixels: the shapes from conv3
# on are those of bvlc_alexnet, so the weights load, but the outputs differ. This table reproduces them.
TF_ALEXNET = dataclasses.replace(
    BVLC_ALEXNET.replace_layers(conv1=dataclasses.replace(BVLC_ALEXNET.layers[0], padding="same")),
    name="tf_alexnet",
    source="M. Guerzhoy, www.cs.toronto.edu/~guerzhoy/tf_alexnet, myalexnet_forward.py",
)

# One tower, without normalisation, two classes.
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

# Average pooling before normalisation over eleven channels; alpha is not divided, as in TensorFlow.
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

# "Dive into Deep Learning": pictures of one channel, 28×28 pixels enlarged to 224×224.
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

# The small network that early TensorFlow tutorials call AlexNet: three convolutions on 28×28 digits.
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

# SAME padding in all convolutions and poolings, tanh in the hidden layers, normalisation after pooling.
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

# Krizhevsky's CIFAR-10 network with 18 % test error: normalisation within each channel over 3×3 windows;
# in the first layer, pooling comes before the ReLU.
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

ARCHITECTURES = {table.name: table for table in list(globals().values()) if isinstance(table, Architecture)}


def get_architecture(architecture: str | Architecture) -> Architecture:
    """Return the table of a name, or the argument itself if it is a table.

    Raises:
        ValueError: there is no network of this name. The message lists the names.
    """
    if isinstance(architecture, Architecture):
        return architecture
    if not isinstance(architecture, str) or architecture not in ARCHITECTURES:
        hint = suggestion(architecture, ARCHITECTURES) if isinstance(architecture, str) else ""
        raise ValueError(
            f"Expected `architecture` to be one of {', '.join(ARCHITECTURES)}. "
            f"Received: architecture={architecture!r}{hint}"
        )
    return ARCHITECTURES[architecture]


def architectures_table() -> str:
    """Return name, input shape, number of classes and source of each network, as a text table."""
    rows = [
        (net.name, "×".join(map(str, net.input_shape)), f"{net.classes} classes", net.source)
        for net in ARCHITECTURES.values()
    ]
    return format_table(rows, right=(2,))
