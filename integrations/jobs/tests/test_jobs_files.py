"""The files for schedulers, read by the schedulers' own checks; and what they run is run."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sleepmem_jobs import DEPLOY

from sleepmem import SleepMemory

SERVICE, TIMER = DEPLOY / "sleepmem-nights.service", DEPLOY / "sleepmem-nights.timer"
CRONTAB = DEPLOY / "sleepmem.crontab"
CRONJOB, SKYPILOT = DEPLOY / "kubernetes-cronjob.yaml", DEPLOY / "skypilot-nights.yaml"
STUB = "#!/bin/sh\n"
SLEEPMEM = f"""#!/bin/sh
exec {shlex.quote(sys.executable)} -c 'from sleepmem.cli import app; app()' "$@"
"""


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of a user with the command, and two memories of which nothing is due."""
    script(tmp_path / ".local/bin/sleepmem", SLEEPMEM)
    for name in ("alice", "bob"):
        with SleepMemory.open(tmp_path / "memories" / name, append_only=True) as memory:
            memory.observe((name,), "The boss of Mara is Tolvan.")
    return tmp_path


# systemd


def verified(home: Path, *units: Path) -> subprocess.CompletedProcess[str]:
    where = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    command = [needs("systemd-analyze"), "--user", "verify", *map(str, units)]
    return subprocess.run(command, env=where, capture_output=True, text=True)


def test_systemd_takes_the_units(home: Path) -> None:
    checked = verified(home, SERVICE, TIMER)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("Type=oneshot", "Type=once"), ("sleepmem nights", "none nights"), ("8h", "8 nights")],
)
def test_systemd_tells_a_wrong_unit(home: Path, right: str, wrong: str) -> None:
    unit = home / SERVICE.name
    unit.write_text(SERVICE.read_text().replace(right, wrong))
    assert verified(home, unit).stderr != ""


def test_the_timer_means_three_at_night() -> None:
    (when,) = (line for line in TIMER.read_text().splitlines() if line.startswith("OnCalendar="))
    command = [needs("systemd-analyze"), "calendar", when.partition("=")[2]]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "03:00:00" in told


def test_the_service_runs_the_nights_of_the_folders_in_its_file(home: Path) -> None:
    (line,) = (one for one in SERVICE.read_text().splitlines() if one.startswith("ExecStart="))
    folders = " ".join(str(home / "memories" / name) for name in ("alice", "bob"))
    # As systemd does it: %h is the home, a variable without braces is split into words.
    command = line.partition("=")[2].replace("%h", str(home)).replace("$FOLDERS", folders)
    done = subprocess.run(shlex.split(command), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    missing = command.replace("bob", "nobody")
    assert subprocess.run(shlex.split(missing), capture_output=True).returncode == 4


# cron


def crontab_check(file: Path) -> subprocess.CompletedProcess[str]:
    """Debian's cron checks with -n, cronie with -T."""
    crontab = needs("crontab")
    usage = subprocess.run([crontab, "-?"], capture_output=True, text=True)
    option = "-T" if "-T" in usage.stderr + usage.stdout else "-n"
    return subprocess.run([crontab, option, str(file)], capture_output=True, text=True)


def test_cron_takes_the_table(tmp_path: Path) -> None:
    assert crontab_check(CRONTAB).returncode == 0
    wrong = tmp_path / "wrong"
    wrong.write_text(CRONTAB.read_text().replace("0 3 * * *", "0 25 * * *"))
    assert crontab_check(wrong).returncode != 0


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 0), (4, 1)])
def test_what_cron_runs_mails_failures_alone(home: Path, code: int, expected: int) -> None:
    line = CRONTAB.read_text().splitlines()[-1]
    command = line.split(maxsplit=5)[5]
    assert "%" not in command  # cron's own sign for a new line
    if code:
        script(home / ".local/bin/sleepmem", f'#!/bin/sh\necho "$@"; echo told >&2\nexit {code}\n')
    # What is no memory would be told every night.
    (home / "memories" / "empty").mkdir()
    (home / "memories" / "notes.txt").write_text("a file")
    where = {**os.environ, "HOME": str(home)}
    done = subprocess.run(["/bin/sh", "-c", command], env=where, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (expected, "")
    log = (home / "memories.log").read_text()
    assert log == (
        "" if code == 0 else f"nights --json {home}/memories/alice {home}/memories/bob\n"
    )
    assert done.stderr == ("" if code == 0 else "told\n")


def test_cron_finds_nothing_to_do_where_there_is_no_memory(tmp_path: Path) -> None:
    command = CRONTAB.read_text().splitlines()[-1].split(maxsplit=5)[5]
    where = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-c", command], env=where, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# Kubernetes


def test_kubernetes_takes_the_cronjob() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    claim, job = yaml.safe_load_all(CRONJOB.read_text())
    for resource in (claim, job):
        validate.validate(resource, "1.31", strict=True)
    job["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(validate.ValidationError):
        validate.validate(job, "1.31", strict=True)


def pod() -> dict[str, Any]:
    _, job = yaml.safe_load_all(CRONJOB.read_text())
    spec: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_one_volume_of_one_machine_beside_the_agent() -> None:
    claim, job = yaml.safe_load_all(CRONJOB.read_text())
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    mounts = {one["name"] for one in pod()["containers"][0]["volumeMounts"]}
    assert mounts == {one["name"] for one in pod()["volumes"]}
    rules = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rules[1]["onExitCodes"]["containerName"] == pod()["containers"][0]["name"]
    # A failure policy is for pods that are not started anew in place.
    assert pod()["restartPolicy"] == "Never"


def in_the_pod(home: Path) -> subprocess.CompletedProcess[str]:
    """What the container runs, with the volume at `memories` and a command that tells its words."""
    script(home / "bin" / "sleepmem", '#!/bin/sh\nprintf "%s\\n" "$@"\n')
    container = pod()["containers"][0]
    command = container["args"][0].replace("/memories", f"{shlex.quote(str(home))}/memories")
    where = {**os.environ, "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        [*container["command"], command], env=where, capture_output=True, text=True
    )


def test_what_the_pod_runs_finds_the_folders(home: Path) -> None:
    (home / "memories" / "lost+found").mkdir()
    (home / "memories" / "bob").rename(home / "memories" / "bob and carol")
    folders = [str(home / "memories" / name) for name in ("alice", "bob and carol")]
    assert in_the_pod(home).stdout.splitlines() == ["nights", "--json", *folders]


def test_a_volume_without_a_memory_has_no_night_and_no_fault(tmp_path: Path) -> None:
    (tmp_path / "memories" / "lost+found").mkdir(parents=True)
    done = in_the_pod(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# SkyPilot


def test_skypilot_takes_the_task() -> None:
    # It brings much that others pin otherwise, so it may live in an environment of its own.
    python = os.environ.get("SLEEPMEM_SKY_PYTHON", sys.executable)
    if python == sys.executable and importlib.util.find_spec("sky") is None:
        pytest.skip("skypilot is not installed; SLEEPMEM_SKY_PYTHON names a Python that has it")
    read = "import sky, sys; print(sky.Task.from_yaml(sys.argv[1]).num_nodes)"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", read, SKYPILOT], env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "2"


def on_a_node(place: Path, rank: int, *, aws: str, sleepmem: str) -> tuple[Any, list[list[str]]]:
    """What the task does as one of two nodes, with these commands; and the words of each call."""
    task, log = yaml.safe_load(SKYPILOT.read_text()), place / f"log-{rank}"
    for name, text in (("aws", aws), ("sleepmem", sleepmem)):
        script(place / "bin" / name, f'#!/bin/sh\necho "$@" >>"$LOG"\n{text}\n')
    where = {
        **os.environ,
        **task["envs"],
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "LOG": str(log),
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": str(rank),
    }
    bash = [needs("bash"), "-c", task["run"]]
    done = subprocess.run(bash, env=where, cwd=place, capture_output=True, text=True)
    return done, [line.split() for line in log.read_text().splitlines()[1:]]


LISTING = "".join(f"                           PRE folder-{n}/\\n" for n in range(5))
LISTS = f'[ "$2" = ls ] && printf "{LISTING}"'
BUCKET = "s3://your-bucket/memories"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4])
def test_every_node_takes_its_folders_and_brings_them_back(tmp_path: Path, code: int) -> None:
    fails = f'[ "$2" = memories/folder-0 ] && exit {code}\nexit 0'
    for rank, numbers in ((0, (0, 2, 4)), (1, (1, 3))):
        done, ran = on_a_node(tmp_path, rank, aws=f"{LISTS}\nexit 0", sleepmem=fails)
        # A node that failed would end the others.
        assert done.returncode == 0, done.stderr
        told = f"error: nights of folder-0 ended with code {code}\n"
        assert done.stderr == (told if rank == 0 and code not in (0, 3) else "")
        # Down, nights, up: for each folder, whatever became of one's nights.
        expected: list[list[str]] = []
        copied = ["s3", "sync", "--only-show-errors", "--exact-timestamps", "--delete"]
        for number in numbers:
            here, there = f"memories/folder-{number}", f"{BUCKET}/folder-{number}"
            nights = ["nights", here, "--least", "20", "--json"]
            expected += [[*copied, there, here], nights, [*copied, here, there]]
        assert ran == expected


def test_a_folder_that_cannot_be_copied_is_told_and_holds_up_no_other(tmp_path: Path) -> None:
    cut = f'[ "$6" = {BUCKET}/folder-0 ] && exit 1\n[ "$7" = {BUCKET}/folder-2 ] && exit 1'
    done, ran = on_a_node(tmp_path, 0, aws=f"{LISTS}\n{cut}\nexit 0", sleepmem="exit 0")
    assert done.returncode == 0
    fetched, brought = done.stderr.splitlines()
    assert fetched == "error: folder-0 could not be fetched, so it had no night"
    assert brought.startswith("error: folder-2 could not be brought back")
    nights = [words[1] for words in ran if words[0] == "nights"]
    assert nights == ["memories/folder-2", "memories/folder-4"]
    # What is half here replaces nothing there.
    assert [words[-1] for words in ran if words[-1].endswith("folder-0")] == ["memories/folder-0"]


def test_a_bucket_that_cannot_be_listed_fails_the_job(tmp_path: Path) -> None:
    lists_nothing = "echo no credentials >&2\nexit 255"
    done, ran = on_a_node(tmp_path, 0, aws=lists_nothing, sleepmem="exit 0")
    assert (done.returncode, done.stderr, ran) == (255, "no credentials\n", [])
