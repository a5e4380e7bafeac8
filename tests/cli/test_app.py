"""What every command promises: help that loads nothing, and one sentence for a fault."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sleepmem.cli import app
from sleepmem.cli.app import NIGHT, PLOTS

run = CliRunner().invoke
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
COMMANDS = [command.name for command in app.registered_commands]
HEAVY = ("torch", "transformers", "chromadb", "matplotlib")
EXTRAS = (*NIGHT, *PLOTS)

# A process of its own has imported nothing yet.
WATCHED = f"""
import sys
from sleepmem.cli import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", [name for name in {HEAVY} if name in sys.modules])
"""
BARE = f"""
import sys
sys.modules.update(dict.fromkeys({EXTRAS}))
from sleepmem.cli import app
app(sys.argv[1:])
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = run(app, [command, "--help"])
    assert done.exit_code == 0
    assert len(done.stdout) > 100


@pytest.mark.parametrize("arguments", [["--help"], ["sleep", "--help"], ["demo", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = python(WATCHED, *arguments)
    assert "Usage" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_help_lists_the_commands_in_the_order_of_their_use() -> None:
    assert " ".join(COMMANDS) == (
        "observe ask chat sleep nights review status report verify reindex backup rollback "
        "why forget receipts export import fit school demo"
    )


def test_the_packages_that_are_looked_for_are_those_of_the_extras() -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    brought = set()
    for requirement in [*project["serve"], *project["night"], *project["report"]]:
        brought.add(re.match(r"[\w-]+", requirement)[0])
    sought = {package.replace("_", "-").replace(".", "-") for package in EXTRAS}
    assert sought == brought - {"sleepmem"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ask", "{missing}", "Where?"], "there is no memory in"),
        (["observe", "{folder}", "  "], "the episode is empty"),
        (["observe", "{folder}", "x", "-n", "a//b"], "names no owner"),
        (["observe", "{folder}", "x", "-n", "x" * 513], "names no owner"),
        (["ask", "{folder}", "Where?", "--model", "/nowhere/at/all"], "there is no model"),
        (["rollback", "{folder}", "--to", "night-0009", "-n", "alice"], "made no expert"),
        (["rollback", "{folder}", "--to", "", "-n", "carol"], "nothing was ever said to carol"),
    ],
)
def test_a_fault_is_one_sentence_and_exit_code_1(
    folder: str, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    places = {"folder": folder, "missing": tmp_path / "nothing"}
    done = run(app, [argument.format(**places) for argument in arguments])
    assert done.exit_code == 1
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("package", "arguments"),
    [
        ("torch", ["ask", "{folder}", "Where?"]),
        ("transformers", ["chat", "{new}"]),
        ("trl", ["sleep", "{folder}"]),
        ("langgraph.checkpoint.sqlite", ["sleep", "{folder}"]),
        ("sentence_transformers", ["rollback", "{folder}", "--to", ""]),
        ("matplotlib", ["report", "{folder}", "-n", "alice"]),
        ("torch", ["demo", "--out", "{new}"]),
        ("transformers", ["demo", "--out", "{new}"]),
        ("trl", ["demo", "--out", "{new}"]),
        ("matplotlib", ["demo", "--out", "{new}"]),
    ],
)
def test_a_missing_extra_is_one_sentence_that_says_what_to_install(
    folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    arguments: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    new = tmp_path / "new"
    done = run(app, [argument.format(folder=folder, new=new) for argument in arguments])
    assert done.exit_code == 1
    name = package.replace("_", "-").replace(".", "-")
    install = 'install it with `pip install "sleepmem[all]"`.'
    assert done.stderr == f"error: this needs {name}, which is not installed; {install}\n"
    assert not new.exists()


@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_look_at_a_folder_needs_no_extra(folder: str, command: str) -> None:
    done = python(BARE, command, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "alice" in done.stdout or "sound" in done.stdout


def test_what_was_said_is_stored_without_any_extra(tmp_path: Path) -> None:
    done = python(BARE, "observe", str(tmp_path / "new"), "Mara has a cat.")
    assert done.returncode == 0
    assert done.stderr.startswith("remembered ")


@pytest.mark.parametrize("command", ["ask", "chat", "sleep", "report", "demo"])
def test_without_any_extra_a_command_says_what_to_install(tmp_path: Path, command: str) -> None:
    first = "matplotlib" if command == "report" else "torch"
    told = ["Where?"] if command == "ask" else []
    place = ["--out"] if command == "demo" else []
    done = python(BARE, command, *place, str(tmp_path / "new"), *told)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: this needs {first}, which is not installed; ")
    assert done.stderr.count("\n") == 1


def test_a_slash_in_an_owners_name_is_written_as_in_an_address(tmp_path: Path) -> None:
    from sleepmem.records import as_path, parse_namespace

    for owner in [("app", "auth0|6f2a"), ("a/b", "50%"), ("josé",)]:
        assert parse_namespace(as_path(owner)) == owner
    assert parse_namespace("app/a%2Fb") == ("app", "a/b")
