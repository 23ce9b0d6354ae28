"""What a page shows: figures with their words, what they draw of labelled arrays, what can be chosen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr

from residua.report.tables import Table

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Plotly writes small bare digits between powers of ten unless it is told how to write numbers.
# Asked for more than three ticks, it writes each of 1 to 9 within a decade.
LOG_AXIS = {"type": "log", "nticks": 3, "tickformat": "~g"}
# The view of a space, from so far away that the titles of its axes are in the picture.
SPACE = {"camera": {"eye": {"x": 1.5, "y": 1.5, "z": 1.0}, "center": {"x": 0, "y": 0, "z": -0.12}}}
# A number; "@choice", what is chosen; "<@choice", all up to it; a choice and what each option means.
Index = int | str | tuple[str, Sequence[int]]


@dataclass(frozen=True)
class Choice:
    """One thing that a reader chooses in a figure.

    Attributes:
        name: by which sources and settings refer to it.
        label: what the reader sees before it.
        options: what there is to choose, in words.
        start: which of them is chosen at first.
        kind: a list, or a slider.
    """

    name: str
    label: str
    options: Sequence[str]
    start: int = 0
    kind: Literal["select", "slider"] = "select"


@dataclass(frozen=True)
class Setting:
    """A property that depends on a choice: of the layout ("layout.yaxis.title.text") or of a trace
    ("0.visible"); one value for each option."""  # fmt: skip

    path: str
    by: str
    values: Sequence[Any]


@dataclass(frozen=True)
class Take:
    """A part of a labelled array, for one property of a trace.

    Attributes:
        array: its name, or one name for each option of the choice `by`.
        at: an index by dimension; what is left out stays free, one dimension for a line, two for a
            picture.
        by: the choice between several arrays.
        spread: an array that is drawn around this one, as a band; one for each where there are several.
        mirror: there and back again, as the other axis of a band needs it.
        transpose: rows for columns.
        tile: pictures side by side, so many in a line, and so many rows free above each.
    """

    array: str | tuple[str, ...]
    at: Mapping[str, Index] = field(default_factory=dict)
    by: str | None = None
    spread: str | tuple[str, ...] | None = None
    mirror: bool = False
    transpose: bool = False
    tile: tuple[int, int] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All arrays that it reads."""
        both = (self.array, self.spread or ())
        return tuple(n for part in both for n in ((part,) if isinstance(part, str) else part))


class Plot:
    """Collects the traces of a figure, and from where in the arrays each property of them comes."""

    def __init__(self) -> None:
        self.traces: list[dict[str, Any]] = []
        self.sources: list[tuple[int, str, Take]] = []

    def add(self, kind: str, name: str, style: Mapping[str, Any], **takes: Take) -> int:
        """Add a trace and return its number; a property with a dot is written with two underscores."""
        number = len(self.traces)
        self.traces.append({"type": kind, "name": name, **style})
        self.sources += [(number, key.replace("__", "."), take) for key, take in takes.items()]
        return number


@dataclass(frozen=True)
class Shown:
    """One figure of a page.

    Attributes:
        name: for its files and its address within the page.
        title: heading.
        caption: what is to be seen in this run, with figures.
        definition: what is drawn, exactly.
        plot: traces and where they come from.
        layout: as plotly has it.
        choices: what a reader can choose.
        settings: what depends on that.
        narrow: what is otherwise in the layout of a narrow window.
        click: a choice that a click makes, with the arrays that say where each option lies.
        by_class: whether the page's key of classes is its legend.
        stored: the arrays whose values its CSV has; default those that are drawn.
    """

    name: str
    title: str
    caption: str
    definition: str
    plot: Plot
    layout: Mapping[str, Any]
    choices: Sequence[Choice] = ()
    settings: Sequence[Setting] = ()
    narrow: Mapping[str, Any] = field(default_factory=dict)
    click: Mapping[str, str] | None = None
    by_class: bool = False
    stored: Sequence[str] = ()


@dataclass(frozen=True)
class Missing:
    """A figure that cannot be drawn, and why."""

    title: str
    why: str


Group = Sequence[Shown | Missing]


@dataclass(frozen=True)
class Section:
    """Figures of a page under headings, and the arrays that they draw.

    Attributes:
        groups: figures by heading.
        data: what they draw; a figure that holds its own needs none.
        said: paragraphs before them.
        tables: after those.
    """

    groups: Mapping[str, Group]
    data: xr.Dataset
    said: Sequence[str] = ()
    tables: Sequence[Table] = ()


def either(
    title: str,
    data: xr.Dataset,
    needs: Sequence[str],
    make: Callable[..., Shown | Missing],
    *whole: xr.Dataset,
) -> Shown | Missing:
    """Return a figure, or which array it needs and the data lack or hold no number of.

    Args:
        title: heading.
        data: what a page holds.
        needs: names of arrays.
        make: takes the data and, where its caption states facts of all of them, the `whole` run.
        whole: all arrays of the run, of which a page may hold some.
    """
    absent = [name for name in needs if name not in data]
    if absent:
        return Missing(title, f"the arrays hold no {', no '.join(absent)}")
    empty = [n for n in needs if data[n].dtype.kind == "f" and not np.isfinite(data[n]).any()]
    if empty:
        return Missing(title, f"no value of {', of '.join(empty)} is a number")
    return make(data, *whole)


def laid_out(
    x: str, y: str, *, height: int = 380, log: bool = False, **more: Any
) -> dict[str, Any]:
    """Return the layout of a figure with one pair of axes."""
    return {
        "height": height,
        "margin": {"l": 10, "r": 12, "t": 10, "b": 10},
        "xaxis": {"title": {"text": x}, **more.pop("xaxis", {})},
        "yaxis": {
            "title": {"text": y, "standoff": 12},
            **(LOG_AXIS if log else {}),
            **more.pop("yaxis", {}),
        },
        "hovermode": "closest",
        **more,
    }


def largest(values: xr.DataArray) -> int:
    """Return where along its one dimension an array is largest, values that are no number apart."""
    return int(np.nan_to_num(values.values.astype(float), nan=-np.inf).argmax())


def split_of(data: xr.Dataset) -> str:
    """Return in a word on which split all was measured, or "unknown"."""
    words = {"train": "training", "val": "validation", "test": "test"}
    return words.get(str(data.attrs.get("split")), "unknown")


def number(value: float) -> str:
    """Return a number in three digits, as captions have it."""
    return "unknown" if value != value else _printed(f"{value:.3g}")


def signed(value: float) -> str:
    """Return a number in three digits with its sign."""
    return "unknown" if value != value else _printed(f"{value:+.3g}")


def _printed(text: str) -> str:
    """Return a number with a true minus, and a power of ten for its exponent, as axes have them."""
    mantissa, _, power = text.partition("e")
    raised = f"·10{str(int(power)).translate(_RAISED)}" if power else ""
    return mantissa.replace("-", "−") + raised


def percent(value: float) -> str:
    """Return a share in percent."""
    return "unknown" if value != value else f"{100 * value:.2f} %"


def counted(count: int, word: str) -> str:
    """Return "1 path" or "2 paths"."""
    return f"{count} {word}{'s' * (count != 1)}"
