"""`class_names`, the list that scripts written for tf_alexnet import from their module caffe_classes."""

from tfalexnet.images.classes import imagenet_classes

class_names: list[str] = [label for _, label in imagenet_classes()]
