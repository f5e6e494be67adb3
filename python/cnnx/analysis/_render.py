"""Tables as text, drawn by rich."""

from __future__ import annotations

from collections.abc import Sequence


def render_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None
) -> str:
    """A table whose first two columns are text and whose others are numbers; the last line may hold totals."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_footer=total is not None, pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(
            name, total[i] if total else "", justify="left" if i < 2 else "right", no_wrap=True, overflow="ignore"
        )
    for row in rows:
        table.add_row(*row)
    console = Console(width=10_000, color_system=None, markup=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))
