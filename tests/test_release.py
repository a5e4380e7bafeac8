"""What the public workflows install, build and publish is what there is."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import sleepmem

ROOT = Path(__file__).parents[1]
PROJECTS = sorted((ROOT / "integrations").glob("*/pyproject.toml"))


def steps(workflow: str, job: str) -> list[dict[str, Any]]:
    told = yaml.safe_load((ROOT / f".github/workflows/{workflow}.yml").read_text())
    found: list[dict[str, Any]] = told["jobs"][job]["steps"]
    return found


def step(name: str) -> str:
    """What a step of the release's build runs."""
    (found,) = (one["run"] for one in steps("release", "build") if name in one.get("name", ""))
    return str(found)


def test_ci_installs_all_whose_tests_it_runs() -> None:
    (install,) = (one["run"] for one in steps("ci", "test") if "install" in one.get("run", ""))
    installed = re.findall(r"--editable (integrations/\w+)", install)
    assert installed == [file.parent.relative_to(ROOT).as_posix() for file in PROJECTS]


@pytest.mark.parametrize("project", PROJECTS, ids=lambda file: file.parent.name)
def test_a_release_publishes_all_under_one_version(project: Path) -> None:
    told = tomllib.loads(project.read_text())["project"]
    assert told["version"] == sleepmem.__version__
    (own,) = (one for one in told["dependencies"] if one.startswith("sleepmem"))
    assert own.endswith(">=0.1,<0.2")
    for command in told["scripts"]:
        assert command in step("Check")


def test_no_link_of_a_readme_is_broken_where_there_is_no_repository(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("sed of other systems edits files otherwise")
    readmes = [ROOT / "README.md", *(file.with_name("README.md") for file in PROJECTS)]
    for readme in readmes:
        copy = tmp_path / readme.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(readme, copy)
    where = {"GITHUB_REPOSITORY": "o/sleepmem", "GITHUB_REF_NAME": "v1", "PATH": "/usr/bin:/bin"}
    subprocess.run(["bash", "-ec", step("Links")], cwd=tmp_path, env=where, check=True)
    for readme in readmes:
        whole = (tmp_path / readme.relative_to(ROOT)).read_text()
        for target in re.findall(r"\]\(([^)\s]+)\)", whole):
            assert target.startswith("https://"), f"{readme}: {target}"
            path = re.fullmatch(r"https://github.com/o/sleepmem/(?:blob|raw)/v1/([^#]+).*", target)
            assert path is None or (ROOT / path[1]).exists(), target
