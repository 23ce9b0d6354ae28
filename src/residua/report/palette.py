"""Colours, dashes and marks: a class has the same in every figure of every page."""

import html
from typing import Any

# After Okabe and Ito, safe for the colour-blind. Their orange, purple and sky blue are darker here, and
# brown stands for yellow, so that each has a contrast of 3 on white. Further classes repeat them,
# dashed and marked otherwise.
COLOURS = (
    "#0072B2", "#C68600", "#009E73", "#D55E00", "#D0649B", "#2B9DC4", "#7A7A7A", "#6B3A14", "#1D2126",
)  # fmt: skip
# The same on dark paper, where all are lighter and sand stands for brown.
DARK = dict(
    zip(
        COLOURS,
        (
            "#3D9BE9", "#E69F00", "#1DB489", "#F0703A", "#D98AB6", "#A1CFF7", "#8A8A8A", "#E9D08F",
            "#FFFFFF",
        ),
        strict=True,
    )
)  # fmt: skip
BLUE, GREEN, VERMILLION, GREY = COLOURS[0], COLOURS[2], COLOURS[3], COLOURS[6]
SIGNS = {"helps": BLUE, "hinders": VERMILLION}
# By verdict on a fixed point: mark, colour, size. In space plotly has few marks, and of "x" and "cross"
# many fonts have no sign.
# Those of one place lie on top of each other, the largest at the bottom.
VERDICTS = {
    "stable": ("circle", GREEN, 9),
    "marginal": ("circle-open", COLOURS[7], 16),
    "saddle": ("diamond", COLOURS[1], 14),
    "unstable": ("square", VERMILLION, 19),
}
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
    return f"{colour(i)}{round(255 * share):02X}"


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
