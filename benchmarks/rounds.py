"""Times of implementations in turn, round by round, and their ratios pair by pair."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping

Seconds = dict[str, list[float]]


def paired(turns: Mapping[str, Callable[[], float]], rounds: int, pause: float = 0) -> Seconds:
    """Return the seconds that each turn returns in every round, after a round to warm up.

    The order is random in every round. `pause` is the time between two turns, in seconds: the threads of the
    previous library spin for a while on the same cores and wait for work.
    """
    seconds: Seconds = {name: [] for name in turns}
    order = list(turns)
    for round_ in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            time.sleep(pause)
            elapsed = turns[name]()
            if round_:
                seconds[name].append(elapsed)
    return seconds


def ratio(seconds: Seconds, slower: str, faster: str) -> float:
    """Return the speed of `faster` relative to `slower`: the median of the ratios of the rounds."""
    return statistics.median(a / b for a, b in zip(seconds[slower], seconds[faster], strict=True))
