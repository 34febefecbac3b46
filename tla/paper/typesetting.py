"""A table of texts as LaTeX (booktabs), and as a figure."""

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tla import plots

NONE = "–"  # a cell without a number
POINT_IN = 1 / 72
DPI = 720  # at which widths are measured, fine enough for hinting not to matter
FONT, SMALLEST = 7.0, 5.0  # points
WIDE = 40  # letters in a cell from which on a LaTeX column is a paragraph
LATEX = str.maketrans(
    {letter: rf"\{letter}" for letter in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": r"$<$", ">": r"$>$", "|": r"$|$"}
    | {"±": r"$\pm$", "–": "--", "[": "{[}"}  # a bracket after the end of a row would be its option
)
GUTTER, LINE = 0.9, 1.35  # between columns and from line to line, in units of the font's size


def latex(table: pd.DataFrame, title: str, note: str, name: str) -> str:
    """A table for a paper, in booktabs' style; with a wide text, its columns are paragraphs."""
    escaped = table.map(_escaped)
    heads = [(_escaped(group), _escaped(head)) for group, head in _heads(table)]
    grouped = any(group for group, _ in heads)
    escaped.columns = pd.MultiIndex.from_tuples(heads) if grouped else pd.Index([head for _, head in heads])
    longest = [max([len(str(cell)) for cell in table[column]], default=0) for column in table.columns]
    shares = [max(12, min(length, 60)) for length in longest]
    if max(longest) > WIDE:
        form = "".join(f"p{{{0.9 * share / sum(shares):.2f}\\linewidth}}" for share in shares)
    else:
        form = "".join("r" if _is_number(table[column]) else "l" for column in table.columns)
    body = escaped.to_latex(index=False, escape=False, multicolumn_format="c", column_format=form).strip()
    caption = rf"\caption{{{_escaped(f'{title}. {note}')}}}"
    parts = [r"\begin{table*}", r"\centering", r"\footnotesize", body, caption, rf"\label{{tab:{name}}}", r"\end{table*}"]
    return "\n".join([r"% needs \usepackage{booktabs}", *parts, ""])


def _escaped(text: object) -> str:
    """A text that LaTeX takes as it is."""
    return str(text).translate(LATEX)


def plate(table: pd.DataFrame, title: str, note: str) -> Figure:
    """A table as a figure: rules above, below and under the head, numbers to the right, long texts broken."""
    font = FONT
    while True:
        broken, widths = _measured(table, font)
        gutter = GUTTER * font * POINT_IN
        total = sum(widths) + gutter * (len(widths) - 1)
        if total <= plots.PAGE_IN or font <= SMALLEST:
            break
        font -= 0.25
    line = LINE * font * POINT_IN
    heads = _heads(table)
    head = line * (2.3 if any(group for group, _ in heads) else 1.2)
    lines = [max(cell.count("\n") + 1 for cell in row) for row in broken]
    between = 0.45 * line if max(lines, default=1) > 1 else 0.0
    tall = 1.8 * line + head + sum(line * count for count in lines) + between * len(lines) + 0.8 * line
    with plots.look():
        figure = Figure(figsize=(max(total, plots.COLUMN_IN), tall))
        pen = _Pen(figure, max(total, plots.COLUMN_IN), tall, font)
        lefts = [sum(widths[:i]) + gutter * i for i in range(len(widths))]
        numbers = [_is_number(table[column]) for column in table.columns]
        columns = list(zip(lefts, widths, numbers, strict=True))
        y = tall - line
        pen.write(0, y, title, weight="bold", size=font + 1)
        y -= 0.5 * line
        pen.rule(0, total, y, 0.9)
        y = pen.heads(heads, columns, y - line, line) - 0.4 * line
        pen.rule(0, total, y, 0.5)
        for row, count in zip(broken, lines, strict=True):
            y -= line + between / 2
            pen.row(row, columns, y, line)
            y -= line * count - line + between / 2
        pen.rule(0, total, y - 0.4 * line, 0.9)
        plots.caption(figure, note)
    return figure


Column = tuple[float, float, bool]  # where it begins, its width, whether it holds numbers


class _Pen:
    """Writes on a figure, in inches from its lower left corner."""

    def __init__(self, figure: Figure, wide: float, tall: float, font: float) -> None:
        self.figure, self.wide, self.tall, self.font = figure, wide, tall, font

    def write(self, x: float, y: float, text: str, *, align: Any = "left", weight: str = "normal", size: float = 0) -> None:
        where: Any = {"ha": align, "va": "baseline", "fontsize": size or self.font, "fontweight": weight, "parse_math": False}
        self.figure.text(x / self.wide, y / self.tall, text, **where)

    def row(self, cells: Sequence[str], columns: Sequence[Column], y: float, line: float) -> None:
        """Cells, of one line or several, whose first lines stand at one height."""
        for cell, (left, width, number) in zip(cells, columns, strict=True):
            for i, text in enumerate(cell.split("\n")):
                self.write(left + width if number else left, y - i * line, text, align="right" if number else "left")

    def heads(self, heads: Sequence[tuple[str, str]], columns: Sequence[Column], y: float, line: float) -> float:
        """The heads of the columns, with those of groups above; where the last of them stands."""
        groups = list(dict.fromkeys(group for group, _ in heads if group))
        for group in groups:
            inside = [column for column, (own, _) in zip(columns, heads, strict=True) if own == group]
            left, right = inside[0][0], inside[-1][0] + inside[-1][1]
            self.write((left + right) / 2, y, group, align="center")
            self.rule(left, right, y - 0.3 * line, 0.5)
        y -= 1.1 * line if groups else 0.0
        self.row([name for _, name in heads], columns, y, line)
        return y

    def rule(self, left: float, right: float, y: float, width: float) -> None:
        ends, height = [left / self.wide, right / self.wide], y / self.tall
        self.figure.add_artist(Line2D(ends, [height, height], color="black", linewidth=width))


BREAK = {"claim": 22, "verdict": 12, "the paper's number": 12, "on": 24, "number": 32, "model": 52}  # letters in a line


def _measured(table: pd.DataFrame, font: float) -> tuple[list[list[str]], list[float]]:
    """The cells with their lines broken, and the width of each column in inches."""
    names = [name for _, name in _heads(table)]
    broken = [
        ["\n".join(textwrap.wrap(str(cell), BREAK.get(name, 60))) for name, cell in zip(names, row, strict=True)]
        for row in table.itertuples(index=False)
    ]
    figure = Figure(figsize=(1, 1), dpi=DPI)
    renderer = FigureCanvasAgg(figure).get_renderer()
    widths = []
    with plots.look():
        for i, name in enumerate(names):
            lines = {name, *(line for row in broken for line in row[i].split("\n"))}
            texts = [figure.text(0, 0, line, fontsize=font, parse_math=False) for line in lines]
            widths.append(max(text.get_window_extent(renderer).width for text in texts) / DPI)
    return broken, widths


def _heads(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Group and name of each column."""
    return [(str(column[0]), str(column[1])) for column in table.columns.to_list()]


def _is_number(column: pd.Series) -> bool:
    cells = [str(cell) for cell in column if cell not in ("", NONE)]
    return bool(cells) and all(cell[0] in "+-0123456789" and any(c.isdigit() for c in cell) for cell in cells)
