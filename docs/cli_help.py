"""A Sphinx directive that shows the help of every `partwise` command, as `--help` prints it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, ClassVar

import typer.main
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from partwise.cli.app import app


def commands(group: Any, path: str = "partwise") -> Iterator[tuple[str, Any]]:
    """Yield the full name and the command object of each command, those of groups included."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")


def option_rows(command: Any) -> Iterator[tuple[str, str]]:
    """Yield the names and the help of each argument and option of a command."""
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield parameter.name.upper(), parameter.help or ""
        elif not parameter.hidden:
            yield ", ".join([*parameter.opts, *parameter.secondary_opts]), parameter.help or ""


class CliHelp(Directive):
    """One section for each command: its description, then a table of its arguments and options."""

    has_content: ClassVar[bool] = False

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        sections: list[nodes.Node] = []
        for name, command in commands(typer.main.get_command(app)):
            section = nodes.section(ids=[nodes.make_id(name)], names=[name])
            section += nodes.title(text=name)
            for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
                section += nodes.paragraph(text=" ".join(paragraph.split()))
            if rows := list(option_rows(command)):
                section += table(rows)
            sections.append(section)
        return sections


def table(rows: list[tuple[str, str]]) -> nodes.table:
    """Return a table of two columns, names as code."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in (30, 70)), cols=2)
    group += nodes.thead("", row(nodes.Text("Argument or option"), nodes.Text("Description")))
    group += nodes.tbody("", *(row(nodes.literal(text=names), nodes.Text(text)) for names, text in rows))
    return nodes.table("", group)


def row(*cells: nodes.Node) -> nodes.row:
    """Return a table row with one paragraph in each cell."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive `cli-help`."""
    app.add_directive("cli-help", CliHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
