"""A queue whose owners take turns: who asks a hundred times does not make others wait for all of it."""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items of owners, who take turns; owners of an owner take turns among themselves.

    An owner is a path: ("10.0.0.7", "alice") and ("10.0.0.7", "bob") share the turns of 10.0.0.7. So more
    names get no client more turns.

    Example:
        >>> queue = FairQueue()
        >>> for item in "a1 a2 a3 b1".split():
        ...     queue.add([item[0]], item)
        >>> [queue.take() for _ in range(4)]
        ['a1', 'b1', 'a2', 'a3']
    """

    def __init__(self) -> None:
        self._own: deque[T] = deque()
        self._inner: OrderedDict[str, FairQueue[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._own) + sum(map(len, self._inner.values()))

    def add(self, owner: Sequence[str], item: T) -> None:
        """Puts an item behind all others of its owner."""
        if not owner:
            self._own.append(item)
            return
        self._inner.setdefault(owner[0], FairQueue()).add(owner[1:], item)

    def take(self) -> T:
        """Removes and returns the next item.

        Raises:
            IndexError: There is none.
        """
        if self._own or not self._inner:
            return self._own.popleft()
        name, inner = next(iter(self._inner.items()))
        item = inner.take()
        self._inner.move_to_end(name)
        if not len(inner):
            del self._inner[name]
        return item

    def take_where(self, wanted: Callable[[T], bool], most: int) -> list[T]:
        """Removes and returns items that are wanted, at most so many, whoever's turn it is."""
        found: list[T] = []
        kept: deque[T] = deque()
        for item in self._own:
            if len(found) < most and wanted(item):
                found.append(item)
            else:
                kept.append(item)
        self._own = kept
        for name in list(self._inner):
            found += self._inner[name].take_where(wanted, most - len(found))
            if not len(self._inner[name]):
                del self._inner[name]
        return found
