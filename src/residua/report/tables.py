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

    def markdown(self) -> str:
        """Return header and rows as a table of Markdown, and the note below it."""

        def line(cells: list[str]) -> str:
            return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"

        lines = [line(self.header), line(["---"] * len(self.header)), *map(line, self.rows)]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])
