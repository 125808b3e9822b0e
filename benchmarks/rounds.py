"""Seconds of several things in turn, round by round, and their ratios pair by pair."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping

Seconds = dict[str, list[float]]


def paired(turns: Mapping[str, Callable[[], float]], rounds: int, pause: float = 0) -> Seconds:
    """What each turn returns, its seconds, in every round, after a round to warm up.

    The order is drawn anew in every round, and `pause` is slept before each turn, in seconds: threads of
    the library before it spin for a while, on the same cores, waiting for more.
    """
    seconds: Seconds = {name: [] for name in turns}
    order = list(turns)
    for round_ in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            time.sleep(pause)
            found = turns[name]()
            if round_:
                seconds[name].append(found)
    return seconds


def ratio(seconds: Seconds, slower: str, faster: str) -> float:
    """How many times as fast one is as the other: the median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(seconds[slower], seconds[faster], strict=True))
