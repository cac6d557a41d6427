"""What was worked out once for an object and holds for every layer that shares it."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class IdentityMemo(Generic[Value]):
    """A memo keyed by the very objects that a value was made from, not by what they hold.

    Comparing tensors would wait for a GPU; layers share the tensor itself where they agree. The memo holds
    the objects, so that no other object can take their identity while it lives.

    Example:
        >>> memo = IdentityMemo[int]()
        >>> first, equal = [1], [1]
        >>> memo.get((first, 0), lambda: 1), memo.get((first, 0), lambda: 2), memo.get((equal, 0), lambda: 3)
        (1, 1, 3)
    """

    def __init__(self) -> None:
        self._values: dict[tuple[int, ...], tuple[tuple[object, ...], Value]] = {}

    def get(self, objects: tuple[object, ...], make: Callable[[], Value]) -> Value:
        """The value for these objects; `make` is called the first time.

        Args:
            objects: Tensors and other objects, which are told apart by identity (ints by value, None is one).
            make: Works the value out.
        """
        key = tuple(each if isinstance(each, int) else id(each) for each in objects)
        if key not in self._values:
            self._values[key] = objects, make()
        return self._values[key][1]
