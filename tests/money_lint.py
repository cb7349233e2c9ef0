"""Finds money that becomes a float: in the syntax tree, following amounts through the names they are given.

An amount is what is called `…nano_usd…`, and within a function whatever is made of one by arithmetic, `sum`, `max` and
their like. It must not be divided by `/`, meet a float, be rounded, be annotated as a float, or be printed as one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

UNIT: Final = "nano_usd"
KEEPING: Final = frozenset({"sum", "min", "max", "abs", "int", "divmod", "divide_half_even", "sorted"})
"""Functions whose result is an amount where an argument is one."""
READING: Final = frozenset({"get", "pop", "setdefault", "getattr"})
"""Functions whose result is what a name in text says."""
BREAKING: Final = frozenset({"float", "round", "complex"})
FLOAT_MODULES: Final = frozenset({"math", "statistics"})
FLOAT_FORMATS: Final = frozenset("eEfFgGn%")


@dataclass(slots=True)
class _Scope:
    """One function (or a module's own lines) and the names in it that hold amounts."""

    amounts: set[str] = field(default_factory=set)

    def is_amount(self, node: ast.AST | None) -> bool:
        match node:
            case ast.Name(id=name):
                return UNIT in name.lower() or name in self.amounts
            case ast.Attribute(attr=name):
                return UNIT in name.lower()
            case ast.Call(func=function, args=given):
                name = _name_of(function)
                return (
                    UNIT in name.lower()
                    or (name in KEEPING and any(map(self.is_amount, given)))
                    or (name in READING and any(_says_amount(one) for one in given))
                )
            case ast.BinOp(left=left, right=right):
                return self.is_amount(left) or self.is_amount(right)
            case ast.UnaryOp(operand=inner) | ast.Starred(value=inner) | ast.NamedExpr(value=inner):
                return self.is_amount(inner)
            case ast.Subscript(value=whole, slice=ast.Constant(value=str(key))) if UNIT not in key.lower():
                return self.is_amount(whole) and not isinstance(whole, ast.Attribute | ast.Call)
            case ast.Subscript(value=whole, slice=index):
                return self.is_amount(whole) or _says_amount(index)
            case ast.IfExp(body=first, orelse=second):
                return self.is_amount(first) or self.is_amount(second)
            case ast.BoolOp(values=parts):
                return any(map(self.is_amount, parts))
            case ast.GeneratorExp(elt=element) | ast.ListComp(elt=element) | ast.SetComp(elt=element):
                return self.is_amount(element)
        return False

    def learn(self, target: ast.AST, value: ast.AST | None) -> None:
        """What is assigned an amount is one; of a tuple each part for itself."""
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, its in zip(target.elts, value.elts, strict=True):
                self.learn(one, its)
        elif isinstance(target, ast.Name) and self.is_amount(value):
            self.amounts.add(target.id)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Call) and self.is_amount(value):
            for one in target.elts:
                if isinstance(one, ast.Name):
                    self.amounts.add(one.id)


def faults(source: str) -> list[str]:
    """`line: what is wrong`, for each place."""
    if UNIT not in source.lower():
        return []
    tree = ast.parse(source)
    lines = source.lower().splitlines()
    found: list[tuple[int, str]] = []
    functions = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any(UNIT in line for line in lines[node.lineno - 1 : node.end_lineno])
    ]
    for scope_node in (tree, *functions):
        scope = _Scope()
        nodes = list(_own_nodes(scope_node))
        before = -1
        while before != len(scope.amounts):
            before = len(scope.amounts)
            for node in nodes:
                for target, value in _assignments(node):
                    scope.learn(target, value)
        for node in nodes:
            found += [(getattr(node, "lineno", 0), fault) for fault in _faults_of(node, scope)]
    return [f"{line}: {fault}" for line, fault in sorted(set(found))]


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """All below a function or module, without the functions in it, but with their signatures."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _own_nodes(child)


def _assignments(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST | None]]:
    match node:
        case ast.Assign(targets=targets, value=value):
            for target in targets:
                yield target, value
        case ast.AnnAssign(target=target, value=value) | ast.AugAssign(target=target, value=value):
            yield target, value
        case ast.NamedExpr(target=target, value=value):
            yield target, value
        case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
            yield target, value


def _faults_of(node: ast.AST, scope: _Scope) -> Iterator[str]:
    match node:
        case ast.BinOp(left=left, op=op, right=right) | ast.AugAssign(target=left, op=op, value=right):
            if scope.is_amount(left) or scope.is_amount(right):
                if isinstance(op, ast.Div):
                    yield "an amount is divided by /"
                if _is_float(left) or _is_float(right):
                    yield "an amount meets a float"
        case ast.Call(func=function, args=given) if any(map(scope.is_amount, given)):
            if _name_of(function) in BREAKING:
                yield f"an amount is given to {_name_of(function)}"
            if isinstance(function, ast.Attribute) and _name_of(function.value) in FLOAT_MODULES:
                yield f"an amount is given to {_name_of(function.value)}.{function.attr}"
        case ast.FormattedValue(value=value, format_spec=ast.JoinedStr() as spec) if scope.is_amount(value):
            if FLOAT_FORMATS & set(ast.unparse(spec)[2:-1][-1:]):
                yield "an amount is printed as a float"
        case ast.AnnAssign(target=target, annotation=annotation) if scope.is_amount(target):
            if _mentions_float(annotation):
                yield "an amount is annotated as a float"
        case ast.arg(arg=name, annotation=annotation) if UNIT in name.lower() and _mentions_float(annotation):
            yield "an amount is annotated as a float"
        case ast.FunctionDef(name=name, returns=returns) | ast.AsyncFunctionDef(name=name, returns=returns):
            if UNIT in name.lower() and _mentions_float(returns):
                yield "an amount is annotated as a float"
            if UNIT in name.lower() and _divides(node):
                yield "an amount is computed with /"
        case ast.Assign(targets=[target], value=value) if scope.is_amount(target) and _is_float(value):
            yield "an amount is a float"
        case ast.keyword(arg=str(name), value=value) if UNIT in name.lower() and (_is_float(value) or _divides(value)):
            yield "an amount is a float"


def _name_of(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_float(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=float()):
            return True
        case ast.UnaryOp(operand=inner):
            return _is_float(inner)
        case ast.Call(func=ast.Name(id="float")):
            return True
    return False


def _says_amount(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and UNIT in str(node.value).lower()


def _divides(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Div) for inner in ast.walk(node))


def _mentions_float(annotation: ast.AST | None) -> bool:
    return annotation is not None and any(_name_of(node) == "float" for node in ast.walk(annotation))
