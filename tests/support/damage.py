"""Changes to the description of an exported file, each of which makes it unusable."""

from tfalexnet.networks.catalog import ARCHITECTURES

OTHER_INPUT = ARCHITECTURES["cifar10_18pct"].to_dict()
OTHER_CLASSES = {"labels": ["a", "b"], "wnids": None}

DAMAGES: dict[str, str | dict | None] = {
    "no description": None,
    "no JSON": "{",
    "nested too deeply": "[" * 100_000,
    "no network": {"table": None},
    "a layer of an unknown kind": {"table": OTHER_INPUT | {"layers": [{"kind": "Attention", "name": "a"}]}},
    "an unknown network of version 0.1": {"table": ..., "architecture": "vgg"},
    "another network of version 0.1": {"table": ..., "architecture": "cifar10_18pct"},
    "another input shape": {"table": OTHER_INPUT},
    "another input shape, no preprocessing": {"table": OTHER_INPUT, "preprocessing": None},
    "other classes": OTHER_CLASSES,
    "labels that are no list": {"labels": 3},
    "labels that are no text": {"labels": ["\ud800"] * 10},
    "too few WordNet ids": {"wnids": ["n1"]},
    "WordNet ids that are no text": {"wnids": [1] * 10},
    "preprocessing with missing fields": {"preprocessing": {"resize": "squash"}},
}
"""The new text, or new values of fields (`...` removes a field); None removes the description."""


def damaged_fields(fields: dict, changes: dict) -> dict:
    """The fields of a description after the changes."""
    return {name: value for name, value in (fields | changes).items() if value is not ...}
