"""All advice that the code gives to people, found in its source: every text that names a command of the ledger."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ledger

PACKAGE = Path(ledger.__file__).parent

#: Where advice is made that `status`, `explain`, `doctor`, `audit`, `advance --dry-run` and `status --check` give.
SOURCES = (
    "audit/_places.py",
    "audit/doctor.py",
    "audit/laws.py",
    "disk/outside.py",
    "disk/raws.py",
    "disk/uncarried.py",
    "ids/gate.py",
    "ids/numbering.py",
    "ids/sequence.py",
    "night/given_out.py",
    "night/products.py",
    "night/progress.py",
    "night/space.py",
    "query/_waiting.py",
    "query/explanation.py",
    "query/standing.py",
    "query/status.py",
    "query/unattended.py",
    "run/plan.py",
)

_COMMAND = re.compile(r"`(ledger [^`]+)`|^(ledger [a-z].*)$", re.DOTALL)
_HOLE = "{}"


def every_advice() -> dict[str, list[re.Pattern[str]]]:
    """Return each advice, as ``module.function: command``, and patterns of the texts that it stands in."""
    found: dict[str, list[re.Pattern[str]]] = {}
    for name in SOURCES:
        for key, pattern in _in_file(PACKAGE / name):
            found.setdefault(key, []).append(pattern)
    return found


def _in_file(path: Path) -> Iterator[tuple[str, re.Pattern[str]]]:
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for function, text in _texts(ast.parse(path.read_text()), "module"):
        for quoted, whole in _COMMAND.findall(text):
            yield f"{module}.{function}: {quoted or whole}", re.compile(_pattern(text), re.DOTALL)


def _texts(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
    """Yield the texts in a piece of code, without docstrings, each with its function; what is put in is a hole."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield function, node.value
    elif isinstance(node, ast.JoinedStr):
        yield function, "".join(str(v.value) if isinstance(v, ast.Constant) else _HOLE for v in node.values)
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                yield from _texts(value.value, function)
    else:
        if isinstance(node, ast.FunctionDef):
            function = node.name
        for child in ast.iter_child_nodes(node):
            if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
                yield from _texts(child, function)


def _pattern(text: str) -> str:
    return ".*?".join(re.escape(part) for part in text.split(_HOLE))
