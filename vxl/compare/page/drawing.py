"""What all pictures of a page share. A figure is Plotly's JSON; the page sets colours by its theme."""

from typing import Any

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8f7a00", "#7570b3")
"""Okabe and Ito's, which colour-blind people tell apart, made to be seen on white and on black."""
SEQUENCE = ("#8e4ec6", "#5b6dcd", "#3b8fc7", "#2ba5a5", "#35b779", "#7ac142", "#c3b62e", "#e0913a")
"""For more lines than there are colours: their order is seen."""
GREY = "#8a8f98"
SHOWN = 40
"""Settings at most in pictures with a row each; the table has all."""

Figure = dict[str, Any]


def figure(data: list[dict[str, Any]], height: int, **layout: Any) -> Figure:
    """A figure as Plotly's JSON."""
    margin = {"l": 56, "r": 16, "t": 24, "b": 48}
    common = {
        "height": height,
        "margin": margin,
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
    }
    return {"data": data, "layout": common | layout}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with a title that does not cover its numbers."""
    return {"title": {"text": title, "standoff": 8}, "automargin": True, "zeroline": False, **more}


def colour(at: int, of: int) -> str:
    """The colour of line number `at`."""
    return COLOURS[at] if of <= len(COLOURS) else SEQUENCE[at * len(SEQUENCE) // of]


def note(text: str, x: float, y: float | str, *, size: int = 11, **place: Any) -> Figure:
    """A text in a picture."""
    return {"text": text, "x": x, "y": y, "showarrow": False, "font": {"size": size}, **place}


def number(text: str) -> float | None:
    """A setting's value where it is a number."""
    try:
        return float(text)
    except ValueError:
        return None


def plain(text: str) -> str:
    """A text that Plotly shows as it is: it takes some tags for its own."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
