"""Pages of the site that are made when it is built, so that they cannot drift.

settings, cli       from the dataclasses of `sleepmem.config` and the typer app
api                 the methods of SleepMemory, in the place that the page marks
index, changelog,   from the files at the root, and the embedded model's card: their links are
contributing,       turned to where the site has the page, or to the repository
embedded
nav                 the entries of the lab log, by their titles
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import posixpath
import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typing_extensions import Doc

from sleepmem import cli
from sleepmem.config import LEVELS, MemoryConfig
from sleepmem.memory import SleepMemory

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/sleepmem/sleepmem/blob/main"
COPIED = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "embedded.md": "sleepmem/embedded/README.md",
}
METHODS = "<!-- methods of SleepMemory -->"
LAB = "lab/index.md"


# What MkDocs calls


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the entries of the lab log to the navigation, newest first."""
    lab: list[Any] = [LAB]
    for entry in sorted((ROOT / "docs/lab").glob("2*.md"), reverse=True):
        title = entry.read_text("utf-8").splitlines()[0].removeprefix("# ")
        question = title.split("? ")[0]
        lab.append({question + "?" * (question != title): f"lab/{entry.name}"})
    for part in config.nav or []:
        if LAB in part.values():
            part[next(iter(part))] = lab
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, text in generated().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    return markdown.replace(METHODS, methods_table()) if METHODS in markdown else markdown


def generated() -> dict[str, str]:
    """The generated pages: name -> Markdown."""
    pages = {"settings.md": settings_page(), "cli.md": cli_page()}
    return pages | {name: copied_page(source) for name, source in COPIED.items()}


# Files of the root


def copied_page(source: str) -> str:
    """A file of the repository as a page of the site."""
    at_site = {path: name for name, path in COPIED.items()}

    def turned(match: re.Match[str]) -> str:
        target, anchor = match["target"], match["anchor"] or ""
        if "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        is_page = path.startswith("docs/") and (ROOT / path).is_file()
        where = path.removeprefix("docs/") if is_page else f"{REPOSITORY}/{path}"
        return f"]({at_site.get(path, where)}{anchor})"

    text = (ROOT / source).read_text("utf-8")
    return re.sub(r"\]\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)", turned, text)


# Settings

SETTINGS_HEAD = """\
# Settings

Every setting, made from `sleepmem/config.py` when this page was built. In Python they are frozen
dataclasses, and what is left out keeps its default:

```python
from sleepmem import DreamConfig, MemoryConfig, SleepConfig, SleepMemory

config = MemoryConfig(sleep=SleepConfig(tired_at=50, dream=DreamConfig(rounds=2)))
SleepMemory.open("agent-memory", config=config).close()
```

The command takes them from a TOML file (`--config FILE`), and so does `read_config`. Tables are
named like the fields:

```toml
[sleep]
tired_at = 50

[sleep.dream]
rounds = 2
```

A name that there is not, or a value outside its range, is refused in one sentence that says what
was given and what it must be.
"""


def settings_page() -> str:
    return "\n".join([SETTINGS_HEAD, *_settings_tables(MemoryConfig, "")])


def _settings_tables(settings: type, table: str) -> Iterator[str]:
    """One section for each dataclass, outer ones first."""
    hints = get_type_hints(settings, include_extras=True)
    inner = []
    heading = f"`[{table}]`" if table else "Top level"
    yield f"## {heading} {settings.__name__}\n\n{inspect.getdoc(settings)}\n"
    yield "| setting | type | default | meaning |\n|---|---|---|---|"
    for setting in fields(settings):
        kind, *rules = get_args(hints[setting.name])
        meaning = next(rule.documentation for rule in rules if isinstance(rule, Doc))
        name = f"{table}.{setting.name}".lstrip(".")
        yield f"| `{setting.name}` | {_kind(kind, rules)} | {_default(setting, name)} | {meaning} |"
        if is_dataclass(kind):
            inner.append((kind, name))
        elif is_dataclass(element := next(iter(get_args(kind)), None)):
            inner.append((element, f"[{name}]"))  # TOML's array of tables
    yield ""
    for kind, name in inner:
        yield from _settings_tables(kind, name)


def _kind(kind: Any, rules: list[Any]) -> str:
    """A type and its range in words."""
    if is_dataclass(kind) or get_origin(kind) is dict:
        return "table"
    if get_origin(kind) is tuple:
        return "list of tables"
    bounds = [r.ge for r in rules if hasattr(r, "ge")] + [r.le for r in rules if hasattr(r, "le")]
    names = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    span = f" {bounds[0]:,} to {bounds[1]:,}" if bounds else ""
    return names.get(kind, str(kind)) + span


def _default(setting: Field[Any], name: str) -> str:
    if setting.default is MISSING and setting.default_factory is MISSING:
        return "none: must be given"
    if setting.default_factory is dict:
        return "empty"
    if setting.default is MISSING:
        return f"see [`[{name}]`](#{_slug(name, setting.default_factory)})"
    if setting.default is LEVELS:
        rows = [f"{x.name}: {x.every}, {x.rank}, {x.steps_per_episode:g}" for x in LEVELS]
        return "name: every, rank, steps_per_episode = " + "; ".join(rows)
    value = setting.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _slug(table: str, settings: Any) -> str:
    """The anchor that the toc extension gives to a section's heading."""
    return f"{table}-{settings.__name__}".replace(".", "").lower()


# The command

CLI_HEAD = """\
# The command

Every command and option, made from the `sleepmem` command itself when this page was built. The
memory folder comes first, answers go to stdout and everything else to stderr, and `--json` prints
what a script would read. Every command has `--help`.
"""


def cli_page() -> str:
    root = typer.main.get_command(cli.app)
    return "\n".join([CLI_HEAD, _exit_codes(), *_commands(root, "sleepmem")])


def _exit_codes() -> str:
    """The sentence about exit codes in the docstrings of the command's modules."""
    modules = [cli, *(importlib.import_module(f"{cli.__name__}.{m.name}") for m in _cli_modules())]
    for module in modules:
        text = " ".join((module.__doc__ or "").split())
        if found := re.search(r"Exit codes: (?P<codes>0 .+?)\.(?: |$)", text):
            codes = re.findall(r"(\d+) (.+?)(?:, (?=\d)|$)", found["codes"])
            rows = [f"| {code} | {meaning} |" for code, meaning in codes]
            return "\n".join(["## Exit codes\n", "| code | meaning |", "|---|---|", *rows, ""])
    raise ValueError("no module of sleepmem.cli says 'Exit codes: 0 ...' in its docstring")


def _cli_modules() -> Iterator[pkgutil.ModuleInfo]:
    return pkgutil.iter_modules(cli.__path__)


def _commands(command: Any, path: str) -> Iterator[str]:
    """A section for each command, and for each of a group's; typer's own completion left out."""
    if subcommands := getattr(command, "commands", None):
        for name, inner in subcommands.items():
            yield from _commands(inner, f"{path} {name}")
        return
    own = [p for p in command.params if not p.hidden]
    arguments = [p for p in own if p.param_type_name == "argument"]
    options = [p for p in own if p.param_type_name == "option"]
    words = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    yield f"## `{path}`\n\n{inspect.cleandoc(command.help or '')}\n"
    yield f"Usage: `{' '.join([path, *words, '[OPTIONS]'])}`\n"
    yield "| argument or option | default | meaning |\n|---|---|---|"
    for parameter in [*arguments, *options]:
        is_argument = parameter.param_type_name == "argument"
        spelled = parameter.name.upper() if is_argument else ", ".join(parameter.opts)
        meaning = (parameter.help or "").replace("|", "\\|")
        yield f"| `{spelled}` | {_option_default(parameter)} | {meaning} |"
    yield ""


def _option_default(parameter: Any) -> str:
    if parameter.required:
        return "must be given"
    if parameter.default in (None, False, ""):
        return ""
    return f"`{parameter.default}`"


# Methods


def methods_table() -> str:
    """What SleepMemory can do: call and first sentence, in the order of the class."""
    rows = ["| call | what it does |", "|---|---|"]
    for name, member in public_members(SleepMemory).items():
        call = name
        if not isinstance(member, property):
            function = getattr(member, "__func__", member)
            given = list(inspect.signature(function).parameters.values())[1:]
            shown = [p.replace(annotation=inspect.Parameter.empty) for p in given]
            call = f"{name}{inspect.Signature(shown)}"
        rows.append(f"| `{call}` | {_first_sentence(member)} |")
    return "\n".join(rows)


def public_members(owner: type) -> dict[str, Any]:
    """Methods and properties of a class that have a docstring and are no async twins."""
    kinds = types.FunctionType | classmethod | property
    members = {n: m for n, m in vars(owner).items() if isinstance(m, kinds)}
    return {
        name: member
        for name, member in members.items()
        if not name.startswith("_")
        and not (name[0] == "a" and name[1:] in members)
        and inspect.getdoc(member)
    }


def _first_sentence(member: Any) -> str:
    text = " ".join((inspect.getdoc(member) or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", text)[0].replace("|", "\\|")
