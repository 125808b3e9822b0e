"""The report of an evaluation: errors from answers, and their table beside the published errors."""

from collections import Counter
from typing import Any

from tfalexnet.evaluation.numbering import ID_NUMBERINGS
from tfalexnet.hub.registry import IMAGENET, REGISTRY, PublishedWeights
from tfalexnet.images.classes import Class

VALIDATION_PICTURES = 50_000  # In the validation set of ILSVRC 2012.

VIEWS = {
    1: "one view, the centre {0}×{0}",
    10: "ten views of {0}×{0}, corners and centre, mirrored too, softmax averaged",
}

Answer = list[int] | None
"""The five best classes of a picture, best first; None if it cannot be read."""


def summarize_answers(labels: list[int], answers: list[Answer], classes: tuple[Class, ...]) -> dict[str, Any]:
    """Return errors, in all and by class, and the confusion, as `evaluate` reports them.

    Args:
        labels: the true class of each picture.
        answers: the answer to each picture.
        classes: of the network.
    """
    pairs = [(label, top) for label, top in zip(labels, answers, strict=True) if top is not None]
    by_class: dict[int, list[tuple[int, list[int]]]] = {label: [] for label in sorted(set(labels))}
    for label, top in pairs:
        by_class[label].append((label, top))
    confusion = Counter((label, top[0]) for label, top in pairs)
    return {
        **_errors(pairs, len(classes)),
        "per_class": {
            str(label): {"wnid": classes[label].wnid, "name": classes[label].label, **_errors(of_class, len(classes))}
            for label, of_class in by_class.items()
        },
        "confusion": [[label, best, count] for (label, best), count in sorted(confusion.items())],
    }


def report_table(report: dict[str, Any]) -> str:
    """Return the errors of a report beside the published ones, and how the two measurements differ, as text."""
    known = REGISTRY.get(report["known"])
    row = "{:<13}{:>12}{:>12}{:>12}".format
    lines = [row("", "measured", "published", "difference")]
    for top in (1, 5):
        error, accuracy = report[f"top{top}_error"], known and getattr(known.accuracy, f"top{top}")
        if error is not None:
            published = ("–", "–")
            if accuracy is not None:
                published = (f"{100 - accuracy:.2f} %", f"{error - (100 - accuracy):+.2f}")
            lines.append(row(f"top-{top} error", f"{error:.2f} %", *published))
    facts = {
        "weights": f"{report['weights']} ({report['architecture']})",
        "pictures": f"{report['read']:,} of {len(report['per_class'])} classes",
        "unreadable": f"{len(report['unreadable']):,}",
        "protocol": report["protocol"]["words"],
    }
    if report["truth"]:
        counted = f"; {ID_NUMBERINGS[report['truth']['ids']]}" if report["truth"]["ids"] else ""
        facts["labels"] = f"{report['truth']['file']}{counted}; {report['truth']['unused']:,} without a picture"
    if known:
        facts["published"] = known.accuracy.protocol
    lines += ["", *(f"{name:<13}{fact}" for name, fact in facts.items())]
    if known and (reservations := _reservations(report, known)):
        lines += ["", f"The published figures are not comparable: {'; '.join(reservations)}."]
    return "\n".join(lines)


def _reservations(report: dict[str, Any], published: PublishedWeights) -> list[str]:
    """Return the ways in which the published measurement differs from this one."""
    reservations = []
    if report["protocol"]["crops"] != 1:
        reservations.append("they are of one view")
    if len(report["per_class"]) < report["classes"]:
        reservations.append(f"here are pictures of {len(report['per_class'])} of {report['classes']} classes")
    elif published.classes == IMAGENET and report["pictures"] != VALIDATION_PICTURES:
        reservations.append(f"here are {report['pictures']:,} pictures, in the validation set {VALIDATION_PICTURES:,}")
    return reservations


def _errors(pairs: list[tuple[int, list[int]]], classes: int) -> dict[str, Any]:
    """Return the number of pictures, and by `top1_` and `top5_` the wrong answers and their share in per cent."""
    wrong = {
        "top1": sum(label != answer[0] for label, answer in pairs),
        "top5": sum(label not in answer for label, answer in pairs) if classes > 5 else None,
    }
    errors: dict[str, Any] = {"read": len(pairs)}
    for name, count in wrong.items():
        error = 100 * count / len(pairs) if pairs and count is not None else None
        errors |= {f"{name}_wrong": count, f"{name}_error": error}
    return errors
