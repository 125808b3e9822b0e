"""The index of a class by its WordNet id or name."""

from tfalexnet.images.classes import Class


class ClassIndex:
    """The indices of classes by WordNet id or name.

    If no class has exactly the given name, case is ignored, and underscores count as spaces.
    """

    def __init__(self, classes: tuple[Class, ...]) -> None:
        self.classes = classes
        self.exact: dict[str, list[int]] = {}
        self.normalized: dict[str, list[int]] = {}
        for table, form in ((self.exact, str), (self.normalized, _normalized)):
            for index, names in enumerate(classes):
                for name in {form(name) for name in names if name}:
                    table.setdefault(name, []).append(index)

    def indices(self, name: str) -> list[int]:
        """Return the indices of all classes of this name."""
        return self.exact.get(name) or self.normalized.get(_normalized(name)) or []

    def index(self, name: str, where: str) -> int:
        """Return the index of the one class of a name that exists; `where` begins the message of an error.

        Raises:
            ValueError: several classes have this name.
        """
        indices = self.indices(name)
        if len(indices) > 1:
            classes = ", ".join(f"{index} ({self.classes[index].wnid or 'no WordNet id'})" for index in indices)
            raise ValueError(f"{where}: expected one class; {name!r} is the name of {classes}. Use WordNet ids.")
        return indices[0]

    def examples(self) -> str:
        """Return the first names or WordNet ids, for messages."""
        first = ", ".join(wnid or label for wnid, label in self.classes[:3])
        return f"{first}, …" if len(self.classes) > 3 else first


def find_class(class_: int | str, classes: tuple[Class, ...]) -> int:
    """Return the index of a class that a user gives by its WordNet id, its name or its index, tried in this order.

    One of several names, as "tabby" of "tabby, tabby cat", suffices.

    Raises:
        ValueError: there is no such class, or several have this name.
    """
    index, name = ClassIndex(classes), str(class_)
    if not isinstance(class_, str):
        indices = []
    elif not (indices := index.indices(name)):
        names = [map(_normalized, label.split(",")) for _, label in classes]
        indices = [number for number, synonyms in enumerate(names) if _normalized(name) in synonyms]
    if len(indices) > 1:
        found = ", ".join(f"{number} ({classes[number].label})" for number in indices)
        raise ValueError(f"Expected one class; {name!r} is the name of {found}. Give the number.")
    if not indices and name.isdecimal() and int(name) < len(classes):
        indices = [int(name)]
    if not indices:
        expected = f"the WordNet id, name or index of a class ({index.examples()} or 0 to {len(classes) - 1})"
        raise ValueError(f"Expected {expected}. Received: {class_!r}")
    return indices[0]


def _normalized(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
