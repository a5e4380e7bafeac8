"""The documentation and the code name the same things."""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer
from _pages import GENERATED, ROOT, WRITTEN, hooks, prose
from typing_extensions import Doc

import sleepmem
from sleepmem import MemoryConfig, config, graph, middleware, records
from sleepmem.cli import app
from sleepmem.night.steps import STEPS


def sections(page: str) -> dict[str, str]:
    """The text under each heading of the second level."""
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_cells(table: str) -> list[str]:
    return re.findall(r"^\| `(\w+)[^`]*` \|", table, re.MULTILINE)


# README


def test_the_readme_takes_ten_minutes() -> None:
    assert len(prose(WRITTEN["README.md"]).split()) <= 600


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_root_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", WRITTEN[name]):
        assert "://" in target or (ROOT / target).exists(), target


def test_the_night_has_the_steps_that_the_concepts_tell() -> None:
    page = WRITTEN["docs/concepts.md"]
    assert f"`{' -> '.join(STEPS)}`" in page
    night = sections(page)["A night, step by step"]
    assert re.findall(r"^\d+\. \*\*(\w+)\.\*\*", night, re.MULTILINE) == list(STEPS)


# Settings


def settings_classes(outer: Any = MemoryConfig) -> Iterator[type]:
    yield outer
    for hint in get_type_hints(outer).values():
        for inner in (hint, *get_args(hint)):
            if is_dataclass(inner):
                yield from settings_classes(inner)


@pytest.mark.parametrize("settings", list(settings_classes()), ids=lambda c: c.__name__)
def test_every_setting_stands_with_its_text_and_default(settings: Any) -> None:
    found = sections(GENERATED["settings.md"])
    text = next(t for heading, t in found.items() if heading.split()[-1] == settings.__name__)
    rows = {row.split("`")[1]: row for row in text.splitlines() if row.startswith("| `")}
    assert list(rows) == [setting.name for setting in fields(settings)]
    for name, hint in get_type_hints(settings, include_extras=True).items():
        assert next(m for m in hint.__metadata__ if isinstance(m, Doc)).documentation in rows[name]
    for setting in fields(settings):
        if isinstance(setting.default, bool | int | float | str):
            assert f"| `{str(setting.default).lower()}` |" in rows[setting.name]
        elif setting.default is MISSING and setting.default_factory is MISSING:
            assert "must be given" in rows[setting.name]


# The command


def commands(command: Any, path: str = "sleepmem") -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}")
    if not hasattr(command, "commands"):
        yield path, command


COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[path for path, _ in COMMANDS])
def test_every_command_stands_with_its_options(path: str, command: Any) -> None:
    text = sections(GENERATED["cli.md"])[f"`{path}`"]
    assert command.help.splitlines()[0] in text
    for parameter in command.params:
        is_option = parameter.param_type_name == "option"
        row = f"| `{', '.join(parameter.opts) if is_option else parameter.name.upper()}` |"
        assert row in text
        assert parameter.help, f"{path} {parameter.name} has no help"
        assert parameter.help in text


def test_exit_codes_stand_with_the_commands() -> None:
    codes = re.findall(r"^\| (\d+) \|", sections(GENERATED["cli.md"])["Exit codes"], re.MULTILINE)
    assert codes[:5] == ["0", "1", "2", "3", "4"]


# Public names


def test_the_public_names_are_those_of_the_package() -> None:
    listed = first_cells(sections(WRITTEN["docs/api.md"])["`sleepmem`"])
    assert sorted(listed) == sorted(sleepmem.__all__)
    assert all(hasattr(sleepmem, name) for name in listed)


@pytest.mark.parametrize("module", [graph, middleware], ids=lambda m: m.__name__)
def test_the_public_names_are_those_of_the_module(module: Any) -> None:
    own = {
        name
        for name, member in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(member) or inspect.isclass(member))
        and member.__module__ == module.__name__
    }
    assert set(first_cells(sections(WRITTEN["docs/api.md"])[f"`{module.__name__}`"])) == own


def test_the_settings_file_is_read_by_a_public_name() -> None:
    listed = first_cells(sections(WRITTEN["docs/api.md"])["`sleepmem.config`"])
    assert all(callable(getattr(config, name)) for name in listed)


# What measures looks into the ledger for it.
MEASURES = {"compare.py", "soak.py"}
INTEGRATIONS = [
    file for file in ROOT.glob("integrations/*/sleepmem_*/*.py") if file.name not in MEASURES
]


@pytest.mark.parametrize("file", INTEGRATIONS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_integrations_use_public_names_alone(file: Path) -> None:
    public = sections(WRITTEN["docs/api.md"])
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sleepmem":
            names = {one.name for one in node.names}
            assert names <= set(first_cells(public[f"`{node.module}`"]))
        # No part of a memory is public; `experts` and the like have methods.
        assert not (isinstance(node, ast.Attribute) and node.attr in ("ledger", "buffer"))


def test_a_page_leads_to_every_integration_and_its_command() -> None:
    page = WRITTEN["docs/integrations.md"]
    for file in ROOT.glob("integrations/*/pyproject.toml"):
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        assert f"[{project['name']}](" in page
        assert f"/{file.parent.relative_to(ROOT).as_posix()}/README.md)" in page
        for command in project["scripts"]:
            assert f"`{command}`" in page


def test_the_listed_records_are_there() -> None:
    listed = first_cells(sections(WRITTEN["docs/api.md"])["`sleepmem.records`"])
    assert len(listed) > 5
    assert all(hasattr(records, name) for name in listed)


def test_the_methods_are_put_into_their_page() -> None:
    assert hooks.METHODS in WRITTEN["docs/api.md"]
    table = hooks.methods_table()
    calls = set(first_cells(table))
    assert {"open", "close", "observe", "recall", "ask", "sleep", "rollback", "verify"} <= calls
    assert not re.search(r"\| *\|$", table, re.MULTILINE)  # each with a line
