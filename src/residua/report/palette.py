"""Colours, dashes and marks: a class has the same in every figure of every page."""

import html
from typing import Any

# Okabe and Ito's colours, safe for the colour-blind, with a darker yellow and a grey in place of black,
# so that all eight show on white and on dark paper. Further classes repeat them, dashed and marked
# otherwise.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8A8A8A", "#B8A800",
)  # fmt: skip
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MARKS = ("circle", "x", "diamond", "square", "triangle-up")
_STROKES = {"solid": "", "dash": "7 3", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "11 4"}


def colour(i: int) -> str:
    """Return the colour of the i-th class or series."""
    return COLOURS[i % len(COLOURS)]


def styled(i: int) -> dict[str, Any]:
    """Return line and marker of the i-th class or series."""
    repeat = i // len(COLOURS)
    return {
        "line": {"color": colour(i), "dash": DASHES[repeat % len(DASHES)], "width": 2},
        "marker": {"color": colour(i), "symbol": MARKS[repeat % len(MARKS)], "size": 6},
    }


def plotted(label: object) -> str:
    """Return a text as plotly must be given it, which reads some HTML in labels and entities."""
    return str(label).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def faint(i: int, share: float = 0.16) -> str:
    """Return the colour of the i-th class for the area of a band."""
    red, green, blue = (int(colour(i)[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def chip(i: int, label: object) -> str:
    """Return the button that switches a class on and off, with its line as the key to all figures."""
    style = styled(i)["line"]
    stroke = _STROKES[style["dash"]]
    line = (
        f'<svg aria-hidden="true" viewBox="0 0 26 12"><line x1="0" y1="6" x2="26" y2="6" '
        f'stroke="{style["color"]}" stroke-width="3.5" stroke-dasharray="{stroke}"/></svg>'
    )
    text = html.escape(str(label))
    return (
        f'<button type="button" class="chip" data-class="{i}" aria-pressed="true" title="{text}">'
        f"{line}<span>{text}</span></button>"
    )
