"""How the code reads, as far as a number can hold it; ruff holds width, branches and arguments."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "sleepmem"
FILES = sorted(PACKAGE.rglob("*.py"))
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Called back in order: hooks of torch, callbacks of transformers and of seeding.
CALLED_BACK = {"route", "add", "on_log", "on_step_end", "progress"}


def nodes(kind):
    """Every node of this kind, with the file that it stands in."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, kind):
                yield file.relative_to(PACKAGE), node


def test_no_function_is_longer_than_a_screen():
    long = []
    for file, function in nodes(FUNCTIONS):
        lines = function.end_lineno - function.lineno + 1
        if lines > 60:
            long.append(f"{file}: {function.name} has {lines} lines")
    assert long == []


def test_comprehensions_are_the_exception():
    lines = sum(len(file.read_text().splitlines()) for file in FILES)
    assert len(list(nodes(COMPREHENSIONS))) <= 3 * lines / 100


def test_no_comprehension_names_a_value_on_its_way():
    walrus = []
    for file, comprehension in nodes(COMPREHENSIONS):
        if any(isinstance(node, ast.NamedExpr) for node in ast.walk(comprehension)):
            walrus.append(f"{file}:{comprehension.lineno}")
    assert walrus == []


def test_names_are_words():
    names = []
    for _, name in nodes(ast.Name):
        if isinstance(name.ctx, ast.Store):
            names.append(name.id)
    names += [argument.arg for _, argument in nodes(ast.arg)]
    single = [name for name in names if len(name) == 1 and name != "_"]
    assert len(single) <= 0.05 * len(names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_says_what_it_is(file):
    assert ast.get_docstring(ast.parse(file.read_text()))


def public_functions():
    """Every function or method of a public name, with the file that it stands in."""
    for file, function in nodes(FUNCTIONS):
        if not function.name.startswith("_"):
            yield file, function


def test_arguments_after_the_second_are_named_by_the_caller():
    positional = []
    for file, function in public_functions():
        arguments = [*function.args.posonlyargs, *function.args.args]
        if arguments and arguments[0].arg in ("self", "cls"):
            arguments = arguments[1:]
        if len(arguments) > 2 and function.name not in CALLED_BACK:
            positional.append(f"{file}:{function.lineno} {function.name}")
    assert positional == []
