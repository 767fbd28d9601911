"""The server's settings as the commands get them: what is wrong with them is said in a line each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from partwise.cli.exits import Exit

if TYPE_CHECKING:
    from partwise.server.settings import Settings

Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Settings file in TOML. The environment and options override it. (default: PARTWISE_CONFIG)",
    ),
]


def load(given: dict[str, Any], config: Path | None = None) -> Settings:
    """The settings, where what is ``given`` (and not None) wins. Ends the command when one is wrong."""
    from pydantic import ValidationError

    from partwise.server.settings import CONFIG_VARIABLE, BadConfigFile, Settings

    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except BadConfigFile as error:
        typer.echo(f"partwise: {error}", err=True)
    except ValidationError as error:
        for fault in error.errors():
            wrong = _WANTED.get(fault["type"], fault["msg"])
            typer.echo(f"partwise: {_place(fault['loc'], given)}: {wrong}", err=True)
    raise typer.Exit(Exit.USAGE)


#: What to write, where pydantic's words are about its own work. Values are not repeated: they may be secrets.
_WANTED = {
    "extra_forbidden": "there is no such setting",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "byte_size": "write a size of 0 or more bytes, for example 16MiB",
    "byte_size_unit": "the unit of the size is unknown. Write for example 16MiB",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "int_from_float": "write a whole number",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "string_type": "write a text, in quotes",
}


def _place(location: tuple[int | str, ...], given: dict[str, Any]) -> str:
    """Return the source of the setting's value: the option, the variable, or the place in the file."""
    from partwise.server.settings import CONFIG_VARIABLE, counted_variables

    name = str(location[0]) if location else ""
    if given.get(name) is not None:
        return f"--{name.replace('_', '-')}"
    if (variable := counted_variables().get(name)) is not None:
        return variable
    path = ".".join(map(str, location))
    return f"{path} in {file}" if (file := os.environ.get(CONFIG_VARIABLE)) else path


def show(config: Config = None) -> None:
    """Print the effective settings as TOML, with the source of each."""
    for line in _lines(load({}, config)):
        typer.echo(line)


def _lines(settings: Settings) -> Iterator[str]:
    from partwise.server.settings import CONFIG_VARIABLE, Settings, counted_variables, read_file

    file = os.environ.get(CONFIG_VARIABLE)
    in_file = read_file(file) if file else {}
    in_environment = counted_variables()
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        source = "default"
        if name in in_file:
            source = str(file)
        if name in in_environment:
            source = "environment"
        yield f"# {field.description}. ({source})"
        if name == "webhooks":
            # Tables, which hold secrets: their names are enough, or their URL.
            yield f"# webhooks = {[webhook.name for webhook in value]}"
            continue
        if name == "before_create" and value is not None:
            yield f"# before_create = {value.url}"
            continue
        # Secrets hide themselves behind asterisks, here too.
        text = json.dumps(value if isinstance(value, bool | int | float) else str(value), ensure_ascii=False)
        yield f"# {name} =" if value is None else f"{name} = {text}"
