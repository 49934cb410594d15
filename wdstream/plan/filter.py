"""`where:` expressions, which choose samples by columns of the index: `tokens < 4000 and dataset != "slides"`.

Python's syntax, but nothing is ever run by Python: the expression is parsed, every node must be one of those listed
here, and it is computed on arrays. Names are columns; there are no calls, attributes or subscripts.

Every dataset has these columns; metadata columns of the pages come on top (docs/shards.md):

    tokens, patches                          of the whole sample, images included
    text_tokens, text_bytes, text_chars      of its text
    num_images, pixels                       of all its images together
    width, height                            of the first image in pixels, 0 without one
    dataset                                  name of the dataset

A metadata column of one of these names is asked for as meta_NAME. What a page lacks, it does not compare: every
comparison with it is false, `language != "de"` too, and so is arithmetic with it; `not language == "de"` is true.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdstream.errors import ConfigError

Value = Any
"""An array with one entry per sample, or a number, text or list, the same for all."""

Columns = Mapping[str, Value]

OWN_NAMES = frozenset(
    {"tokens", "patches", "text_tokens", "text_bytes", "text_chars", "num_images"}
    | {"pixels", "width", "height", "dataset"}
)
"""What may be asked of every dataset."""

UNKNOWN_KIND = np.dtype("V1")
"""Of a masked column that no page of a dataset has: of text or of numbers, nobody knows, and it does not matter."""

_COMPARE: dict[type[ast.cmpop], Callable[[Value, Value], Value]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: _any_of(left, right),
    ast.NotIn: lambda left, right: np.logical_not(_any_of(left, right)),
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


class Where:
    """A checked expression.

    Raises:
        ConfigError: it is not valid, or holds something that is not allowed; shows where.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigError(f"where: {text!r} is not an expression: {error}") from error
        self.names = frozenset(self._check(self._tree))

    def select(self, columns: Columns, num_samples: int) -> NDArray[np.bool_]:
        """Which samples are chosen: bool (num_samples,).

        Args:
            columns: arrays of num_samples, or single values, by name.

        Raises:
            ConfigError: a name is not a column, or values of different kinds are compared.
        """
        missing = sorted(self.names - set(columns))
        if missing:
            raise ConfigError(
                f"where: {self.text!r}: no column {', '.join(map(repr, missing))}; "
                f"there are {', '.join(sorted(columns))}"
            )
        try:
            with np.errstate(divide="ignore", invalid="ignore"):
                chosen = np.asarray(_truth(self._compute(self._tree, columns)))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ConfigError(f"where: {self.text!r}: {error}") from error
        if chosen.dtype != np.bool_:
            raise ConfigError(
                f"where: {self.text!r} gives {chosen.dtype} values; expected a comparison, such as tokens < 4000"
            )
        return np.broadcast_to(chosen, (num_samples,))

    def _check(self, node: ast.expr) -> list[str]:
        """Names used in a node; refuses what is not allowed."""
        match node:
            case ast.Name():
                return [node.id]
            case ast.Constant(value=bool() | int() | float() | str()):
                return []
            case ast.BoolOp():
                inner = node.values
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                inner = [node.operand]
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                inner = [node.left, node.right]
            case ast.Compare() if all(type(op) in _COMPARE for op in node.ops):
                inner = [node.left, *node.comparators]
            case ast.List() | ast.Tuple() | ast.Set():
                inner = node.elts
            case _:
                found = ast.get_source_segment(self.text.strip(), node) or type(node).__name__
                raise ConfigError(
                    f"where: {self.text!r}: {found!r} is not allowed; use columns, numbers, texts, lists, and or not, "
                    "comparisons, in, + - * / // %"
                )
        return [name for child in inner for name in self._check(child)]

    def _compute(self, node: ast.expr, columns: Columns) -> Value:
        match node:
            case ast.Name():
                return columns[node.id]
            case ast.Constant():
                return node.value
            case ast.BoolOp():
                combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
                parts = [_truth(self._compute(value, columns)) for value in node.values]
                return combine.reduce(np.broadcast_arrays(*parts))
            case ast.UnaryOp():
                value = self._compute(node.operand, columns)
                return np.logical_not(_truth(value)) if isinstance(node.op, ast.Not) else _apply(operator.neg, value)
            case ast.BinOp():
                sides = self._compute(node.left, columns), self._compute(node.right, columns)
                return _apply(_ARITHMETIC[type(node.op)], *sides)
            case ast.Compare():
                values = [self._compute(value, columns) for value in (node.left, *node.comparators)]
                results = [_compare(op, *pair) for op, *pair in zip(node.ops, values, values[1:], strict=False)]
                return results[0] if len(results) == 1 else np.logical_and.reduce(np.broadcast_arrays(*results))
            case ast.List() | ast.Tuple() | ast.Set():
                return [self._compute(element, columns) for element in node.elts]
        raise AssertionError("checked when the expression was made")


def _apply(function: Callable[..., Value], *values: Value) -> Value:
    """An operation on values, masked where one of them is."""
    masks = [np.ma.getmaskarray(value) for value in values if isinstance(value, np.ma.MaskedArray)]
    if any(_is_unknown(value) for value in values):
        return next(value for value in values if _is_unknown(value))
    result = function(*(value.data if isinstance(value, np.ma.MaskedArray) else value for value in values))
    return np.ma.masked_array(result, np.logical_or.reduce(np.broadcast_arrays(*masks))) if masks else result


def _compare(op: ast.cmpop, left: Value, right: Value) -> Value:
    """A comparison: false where a page lacks one of the values."""
    _refuse_kinds(left, right)
    return _truth(_apply(_COMPARE[type(op)], left, right))


def _truth(value: Value) -> Value:
    """What a page lacks is not so."""
    if _is_unknown(value):
        return np.zeros(value.shape, dtype=np.bool_)
    return value.data & ~np.ma.getmaskarray(value) if isinstance(value, np.ma.MaskedArray) else value


def _refuse_kinds(left: Value, right: Value) -> None:
    """Text is compared with text alone. (numpy would say that it differs from every number.)"""
    values = (left, *(right if isinstance(right, list) else [right]))
    if len({_is_text(value) for value in values if not _is_unknown(value)}) > 1:
        raise ValueError("text is compared with a number; write texts in quotes, and numbers without")


def _is_unknown(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == UNKNOWN_KIND


def _is_text(value: Value) -> bool:
    return isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind in "OU")


def _any_of(left: Value, right: Value) -> Value:
    """Whether each value of `left` is one of the list `right`."""
    if not isinstance(right, list):
        raise ValueError("after `in` a list is expected, such as ['en', 'de']")
    return np.isin(left, right) if right else np.zeros(np.shape(left), dtype=np.bool_)
