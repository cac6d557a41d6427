"""A screen to draw tables and bars on, whose texts may come from anybody."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typing_extensions import override

from vxl.terminal.say import fitted
from vxl.units import printable


class Screen(Console):
    """rich's console, which obeys no character of the texts that it is given, and colours none by itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, **options)

    @override
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def prose(console: Console, text: str, style: str | None = None) -> None:
    """Prints sentences and numbers: a terminal breaks them between words, a file has them on one line.

    What is meant to be copied (commands, paths) is printed whole with `soft_wrap`.
    """
    lines = fitted(text, console.width) if console.is_terminal else text
    console.print(lines, style=style, markup=False, highlight=False, soft_wrap=True)
