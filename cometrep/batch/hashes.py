"""Find what repeats among very many things, of which no more is kept than a hash."""

import itertools
from array import array


class Hashes:
    """Collect 64-bit hashes, eight bytes each, and tell which of them came more than once."""

    def __init__(self) -> None:
        self._drawers = [array("Q") for _ in range(256)]  # sorted one at a time, to stay small

    def add(self, short: int) -> None:
        """Take up a hash."""
        self._drawers[short >> 56].append(short)

    def repeated(self) -> frozenset[int]:
        """Give those that came more than once."""
        found: set[int] = set()
        for drawer in self._drawers:
            found.update(one for one, other in itertools.pairwise(sorted(drawer)) if one == other)
        return frozenset(found)

    def shared_with(self, other: "Hashes") -> frozenset[int]:
        """Give those that came in another collection too."""
        found: set[int] = set()
        for ours, theirs in zip(self._drawers, other._drawers, strict=True):
            found.update(set(ours).intersection(theirs) if theirs else ())
        return frozenset(found)
