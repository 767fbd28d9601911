"""The manual page, made from the help: ``python -m partwise.cli.man > partwise.1``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer.main

from partwise import __version__
from partwise.cli.app import EXAMPLES, app
from partwise.cli.exits import MEANINGS

_ENVIRONMENT = {
    "PARTWISE_SERVER": "URL of the server, unless --server is given.",
    "PARTWISE_TOKEN": "Access token, unless --token is given.",
    "PARTWISE_PROFILE": "Name of the profile to use, unless --profile is given.",
    "PARTWISE_CONFIG": "Settings file of the server.",
    "XDG_CONFIG_HOME": "Folder of the profiles. Default: ~/.config.",
    "XDG_STATE_HOME": "Folder of the notes by which uploads are resumed. Default: ~/.local/state.",
    "http_proxy, https_proxy, all_proxy, no_proxy": "Proxies, as curl reads them.",
}
_FILES = {
    "~/.config/partwise/profiles.json": "Servers and tokens that partwise login stored.",
    "~/.local/state/partwise/uploads": "What is resumed when an upload is run again.",
}


def manual() -> str:
    """The page in the language of man(7)."""
    root = typer.main.get_command(app)
    return "\n".join(_page(root)) + "\n"


def _page(root: Any) -> Iterator[str]:
    yield f'.TH PARTWISE 1 "" "partwise {__version__}" "User Commands"'
    yield ".SH NAME"
    yield rf"partwise \- {_text(root.help)}"
    yield ".SH SYNOPSIS"
    yield r".B partwise"
    yield r"\fICOMMAND\fR [\fIOPTIONS\fR] [\fIARGUMENTS\fR]"
    yield ".SH COMMANDS"
    for name, command in _commands(root, "partwise"):
        yield from _command(name, command)
    yield ".SH EXIT STATUS"
    for code, meaning in MEANINGS.items():
        yield from _entry(str(int(code)), meaning)
    for title, entries in (("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        yield f".SH {title}"
        for term, meaning in entries.items():
            yield from _entry(term, meaning)
    yield ".SH EXAMPLES"
    for example in EXAMPLES:
        yield from (".PP", ".nf", _text(example), ".fi")


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        nested = hasattr(command, "commands")
        if not command.hidden and (not nested or command.invoke_without_command):
            yield f"{prefix} {name}", command
        if nested:
            yield from _commands(command, f"{prefix} {name}")


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    words = " ".join(_metavar(param) if param.required else f"[{_metavar(param)}]" for param in arguments)
    yield f".SS {_text(name)} [\\fIOPTIONS\\fR] \\fI{_text(words)}\\fR".replace(r" \fI\fR", "")
    for paragraph in (command.help or "").split("\n\n"):
        yield from (_text(paragraph), ".PP")
    for param in arguments:
        if param.help:
            yield from _entry(_metavar(param), param.help, italic=True)
    for param in command.params:
        if param.param_type_name == "option" and not param.hidden:
            names = ", ".join([*param.opts, *param.secondary_opts])
            yield from _entry(f"{names} {param.metavar or ''}".strip(), _option_help(param))


def _metavar(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _option_help(param: Any) -> str:
    default = param.default
    shown = f" (default: {default})" if isinstance(default, (int, float, str)) and not isinstance(default, bool) else ""
    return f"{param.help or ''}{shown}"


def _entry(term: str, text: str, *, italic: bool = False) -> Iterator[str]:
    yield ".TP"
    yield f"\\f{'I' if italic else 'B'}{_text(term)}\\fR"
    yield _text(text)


def _text(text: str) -> str:
    """Text as roff reads it: one line, in which nothing is a request or an escape."""
    line = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    line = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in line)
    return f"\\&{line}" if line[:1] in (".", "'") else line


if __name__ == "__main__":
    sys.stdout.write(manual())
