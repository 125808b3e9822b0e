"""`class_names`, the list that scripts written for tf_alexnet import from caffe_classes."""

from tfalexnet.classes import imagenet

class_names: list[str] = [label for _, label in imagenet()]
