"""Help for people: an option shows the word that stands for its value, and no type of Python's."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

_F = TypeVar("_F", bound=Callable[..., Any])


def _without_types(params: list[Any]) -> list[Any]:
    """Let a flag, which takes no value, show nothing, and an argument its name alone."""
    for param in params:
        if isinstance(param, TyperArgument):
            param.type = copy(param.type)  # one for all arguments of a kind
            setattr(param.type, "get_metavar", lambda param, ctx: "")  # noqa: B010 (a method, for this one)
        elif param.metavar is None:
            param.metavar = ""
    return params


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class App(typer.Typer):
    """Commands whose help is so."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=_Group, **options)

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = _Command, **options: Any
    ) -> Callable[[_F], _F]:
        """As Typer's."""
        return super().command(name, cls=cls, **options)
