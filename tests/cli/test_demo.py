"""The command passes its flags on, and Ctrl-C ends it."""

import pytest
from support.command import run

from tfalexnet.demo import server


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((), (None, None, None, False, "auto")),
        (
            ("--weights", "cifar10", "--compare", "a.h5", "--port", "8000", "--share", "--engine", "tensorflow"),
            ("cifar10", "a.h5", 8000, True, "tensorflow"),
        ),
    ],
)
def test_flags_are_passed_on(flags, expected, monkeypatch, capsys):
    received = []

    def serve(*arguments):
        received.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serving", serve)
    assert run(capsys, "demo", *flags) == (0, "", "")
    assert received == [expected]


def test_a_wrong_port_is_a_mistake_of_the_command_line(capsys):
    assert run(capsys, "demo", "--port", "70000").returncode == 2
