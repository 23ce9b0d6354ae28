"""Tables of results as text, for the terminal and for pages."""

from typing import NamedTuple


class Table(NamedTuple):
    """A title, the names of the columns, the rows, and what a reader must know of them."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""

    def records(self) -> list[dict[str, str]]:
        """Return a row as named cells."""
        return [dict(zip(self.header, row, strict=True)) for row in self.rows]
