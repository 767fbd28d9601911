"""Small changes of a module, one at a time, that its tests should notice."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


@dataclass(frozen=True)
class Mutant:
    """One changed version of a module: the line, what was changed, and the whole source."""

    line: int
    change: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of ``source``, in the order of its lines. Annotations and docstrings stay as they are."""
    places = [index for index, node in enumerate(list(ast.walk(ast.parse(source)))) if _mutate(node)]
    found: list[Mutant] = []
    for index in places:
        tree = ast.parse(source)
        node = next(itertools.islice(ast.walk(tree), index, None))
        before = ast.unparse(node)
        _mutate(node)
        change = f"{_short(before)}  ->  {_short(ast.unparse(node))}"
        found.append(Mutant(getattr(node, "lineno", 0), change, ast.unparse(ast.fix_missing_locations(tree))))
    yield from sorted(found, key=lambda mutant: mutant.line)


def _mutate(node: ast.AST) -> bool:
    """Change the node in place. Returns False for nodes that stay as they are."""
    match node:
        case ast.Compare():
            node.ops[0] = _COMPARED[type(node.ops[0])]()
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.BinOp(op=ast.Add()):
            node.op = ast.Sub()
        case ast.BinOp(op=ast.Sub()):
            node.op = ast.Add()
        case ast.If():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.Expr(value=ast.Call() | ast.Await()):
            node.value = ast.Constant(None)  # the call is left out
        case _:
            return False
    return True


def _short(text: str) -> str:
    line = text.splitlines()[0]
    return line if len(line) <= 60 else f"{line[:57]}..."
