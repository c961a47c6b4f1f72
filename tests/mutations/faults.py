"""Every single fault of the chosen kinds that a module could have, found in its syntax tree and written back into its text.

The text around a fault stays as it is, so the numbers of lines hold.
"""
import ast
from collections.abc import Iterator

from msgspec import Struct

KINDS = {
    "flipped": "a comparison is turned into its opposite: < to >=, == to !=, in to not in",
    "boundary": "a boundary is moved by one: < to <=, >= to >",
    "negated": "a condition is negated",
    "sign": "+ becomes -, - becomes +, a minus sign goes",
    "constant": "a whole number is one larger",
    "removed": "a statement is left out",
    "default": "a function returns nothing: None, 0, False or an empty value, by its annotation",
    "and_or": "and becomes or, or becomes and",
}
_FLIP = {ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
         ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}  # fmt: skip
_MOVE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_SHOWN = ("_repr_", "__repr__", "__str__")  # what only shows an object is left alone


class Fault(Struct, frozen=True):
    "One change of a module"

    room: str
    kind: str
    line: int
    column: int
    old: str
    new: str

    def __str__(self) -> str: return f"{self.room}:{self.line} {self.kind}: `{self.old}` -> `{self.new}`"


def every(
    room: str,  # such as risk.limits
    text: str,  # of its module
) -> list[Fault]:
    "All faults of a module, in the order of its lines"
    lines = text.encode().split(b"\n")
    found = [Fault(room, kind, node.lineno, node.col_offset, _source(lines, node), new)
             for node, kind, new in _walk(ast.parse(text), "")]
    return sorted({f for f in found if f.old and f.old != f.new}, key=lambda f: (f.line, f.column, f.kind, f.new))


def _source(lines: list[bytes], node: ast.expr | ast.stmt) -> str:
    "The text of a node; `ast.get_source_segment` splits the whole module for each"
    assert node.end_lineno
    part = lines[node.lineno - 1 : node.end_lineno]
    part[-1] = part[-1][: node.end_col_offset]
    part[0] = part[0][node.col_offset :]
    return b"\n".join(part).decode()


def applied(text: str, fault: Fault) -> str:
    "The text of the module with the fault"
    lines = text.split("\n")
    raw = lines[fault.line - 1].encode()
    column = len(raw[: fault.column].decode())
    begin = sum(len(line) + 1 for line in lines[: fault.line - 1]) + column
    assert text.startswith(fault.old, begin), fault
    return text[:begin] + fault.new + text[begin + len(fault.old) :]


def _walk(node: ast.AST, returns: str) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if node.name.startswith(_SHOWN): return
        returns = ast.unparse(node.returns) if node.returns else ""
        inside: list[ast.AST] = [*node.body, *filter(None, [*node.args.defaults, *node.args.kw_defaults])]
    elif isinstance(node, ast.JoinedStr): return  # Python 3.11 doesn't know where its parts stand
    elif isinstance(node, ast.AnnAssign): inside = [node.value] if node.value else []
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant): return  # a docstring
    elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "_all_"): return
    else: inside = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.expr | ast.stmt): yield from _here(node, returns)
    for child in inside: yield from _walk(child, returns)


def _here(node: ast.expr | ast.stmt, returns: str) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    match node:
        case ast.Compare(left=left, ops=ops, comparators=rest):
            for n, op in enumerate(ops):
                for kind, table in (("flipped", _FLIP), ("boundary", _MOVE)):
                    if to := table.get(type(op)):
                        yield node, kind, ast.unparse(ast.Compare(left, [*ops[:n], to(), *ops[n + 1 :]], rest))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield test, "negated", f"(not ({ast.unparse(test)}))"
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right) if not isinstance(left, ast.JoinedStr):
            yield node, "sign", ast.unparse(ast.BinOp(left, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), right))
        case ast.UnaryOp(op=ast.USub(), operand=operand): yield node, "sign", ast.unparse(operand)
        case ast.Constant(value=int() as value) if not isinstance(value, bool): yield node, "constant", str(value + 1)
        case ast.BoolOp(op=op, values=values):
            yield node, "and_or", f"({ast.unparse(ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values))})"
        case ast.AugAssign(target=target, op=ast.Add() | ast.Sub() as op, value=value):
            yield node, "sign", ast.unparse(ast.AugAssign(target, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), value))
            yield node, "removed", "pass"
        case ast.Expr() | ast.Raise() | ast.Delete() | ast.Continue() | ast.Break(): yield node, "removed", "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript() | ast.Tuple()]): yield node, "removed", "pass"
        case ast.Return(value=ast.expr() as value): yield node, "default", f"return {_empty(returns, ast.unparse(value))}"
        case ast.Return(value=None): yield node, "removed", "pass"
        case _: return


def _empty(returns: str, value: str) -> str:
    if returns == "bool": return "True" if value == "False" else "False"
    if returns in ("int", "Count", "Money", "Price"): return "0"
    if returns == "str": return '""'
    if returns.startswith("list["): return "[]"
    if returns.startswith(("dict[", "Mapping[")): return "{}"
    return "None"
