"""``python -m partwise``: the command, also where it is not on the PATH."""

from partwise.cli import main

main()
