"""Names of devices, and the errors for devices that do not exist."""

import pytest

from tfalexnet import AlexNet
from tfalexnet.networks.catalog import KRIZHEVSKY2012
from tfalexnet.networks.devices import resolve_devices, short_name


@pytest.mark.parametrize("name", ["/device:CPU:1", "/cpu:1", "CPU:1", "/CPU:1"])
def test_all_forms_of_a_name_are_one_device(name):
    assert short_name(name) == "CPU:1"
    assert resolve_devices(("/CPU:0", name))[1].endswith("/device:CPU:1")


def test_a_missing_device_is_an_error_that_lists_the_existing_ones():
    with pytest.raises(ValueError, match=r"exist: /CPU:0, /CPU:1\. Received: '/GPU:1'"):
        AlexNet(devices=("/CPU:0", "/GPU:1"))


@pytest.mark.parametrize("devices", ["/CPU:0", ("/CPU:0",), ("/CPU:0",) * 3, (0, 1)])
def test_devices_that_are_not_names_or_not_one_per_tower_are_refused(devices):
    with pytest.raises(ValueError, match="Expected `devices`"):
        AlexNet(KRIZHEVSKY2012, devices=devices)


def test_the_error_for_a_network_of_one_tower_lists_those_of_two():
    with pytest.raises(ValueError, match=r"one_weird_trick has 1 tower.*krizhevsky2012, bvlc_alexnet"):
        AlexNet("one_weird_trick", devices=("/CPU:0", "/CPU:1"))
