"""The partwise command: thin commands over the client and the server."""

from __future__ import annotations


def main() -> None:
    """The entry point; ends the process with one of the codes in `partwise.cli.exits`."""
    # Imported here, so that naming the package costs nothing.
    from partwise.cli.streams import make_usable

    make_usable()
    from partwise.cli.app import app

    app(prog_name="partwise")
