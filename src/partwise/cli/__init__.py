"""The partwise command: thin commands over the client and the server."""

from __future__ import annotations

import sys

from partwise import __version__

#: Modules of the packages that ``partwise[server]`` installs.
SERVER_PACKAGES = (
    "alembic",
    "httptools",
    "multipart",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
    "sqlalchemy",
    "starlette",
    "structlog",
    "uvicorn",
    "uvloop",
)


def main() -> None:
    """The entry point; ends the process with one of the codes in `partwise.cli.exits`."""
    # Imported here, so that naming the package costs nothing.
    from partwise.cli.streams import make_usable

    make_usable()
    if sys.argv[1:] == ["--version"]:
        # Scripts ask often: without the parser of options it is told in a third of the time.
        sys.stdout.write(f"partwise {__version__}\n")
        return
    try:
        from partwise.cli.app import app

        app(prog_name="partwise")
    except KeyboardInterrupt:  # during the imports; commands handle it themselves
        from partwise.cli.exits import Exit

        raise SystemExit(Exit.INTERRUPTED) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in SERVER_PACKAGES:
            raise
        sys.exit("partwise: this command needs the server. Install it: pip install 'partwise[server]'")
