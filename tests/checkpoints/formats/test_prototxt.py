"""The text form of protocol buffers: what is read, and what is refused with its line."""

import pytest

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.formats import prototxt

google = pytest.importorskip("google.protobuf.text_format")


def test_every_form_of_a_value_is_read():
    text = """
    name: "net" 'work'  # a comment: "{"
    layer { size: 3 size: [ 4, 0x10 ]; rate: -1.5e-3 rate: 2.f rate: .5 rate: inf pool: MAX flag: true }
    layer < name: 'a"b' inner: { dim: 1 }, > dim: 0. layer: {}
    """
    assert prototxt.parse(text) == {
        "name": ["network"],
        "layer": [
            {"size": [3, 4, 16], "rate": [-1.5e-3, 2.0, 0.5, float("inf")], "pool": ["MAX"], "flag": [True]},
            {"name": ['a"b'], "inner": [{"dim": [1]}]},
            {},
        ],
        "dim": [0.0],
    }
    assert type(prototxt.parse("a: 3")["a"][0]) is int and type(prototxt.parse("a: 3.")["a"][0]) is float


def test_values_are_those_of_googles_parser():
    from google.protobuf import struct_pb2

    text = "fields { key: 'a' value { number_value: 1.25e2 } } fields { key: \"b\" value < string_value: 'x' 'y' > }"
    theirs = google.Parse(text, struct_pb2.Struct())
    ours = {entry["key"][0]: entry["value"][0] for entry in prototxt.parse(text)["fields"]}
    assert ours["a"]["number_value"] == [theirs["a"]] and ours["b"]["string_value"] == [theirs["b"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer {\n name: 3\n", "line 3: expected the name of a field or '}'; received ''"),
        ("a: 1\n}", "line 2: expected the name of a field; received '}'"),
        ("a: 1\nb: }", "line 2: expected a value; received '}'"),
        ("a: [1, 2", "line 1: expected a value; received ''"),
        ("a: 1.2.3", "line 1: expected a number; received '1.2.3'"),
        ("a: " + "9" * 200_000, "line 1: expected the name of a field"),
        ("a: 1\n\n$", "line 3: expected a prototxt; received"),
        ("a { b: 1 >", "expected the name of a field or '}'"),
        ("a: 'x", "line 1: expected a prototxt"),
        ("a{" * 100, "at most 16 messages inside each other"),
        ("a:1 " * 5000, "at most 4096 values"),
    ],
)
def test_damaged_text_is_refused_with_its_line(text, message, tmp_path):
    path = tmp_path / "x.prototxt"
    path.write_text(text)
    with pytest.raises(CheckpointError) as caught:
        prototxt.read(path)
    assert message in str(caught.value) and str(path) in str(caught.value)


def test_names_are_utf_8_and_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "x.prototxt"
    path.write_text('name: "Käse"', "utf-8-sig")
    assert prototxt.read(path) == {"name": ["Käse"]}


def test_a_long_file_is_not_read(tmp_path):
    path = tmp_path / "x.prototxt"
    with path.open("wb") as file:
        file.truncate(prototxt.LARGEST_FILE + 1)
    with pytest.raises(CheckpointError, match="at most 1,048,576 bytes"):
        prototxt.read(path)
