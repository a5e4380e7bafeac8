"""A little of each part of the bench of faults: nothing is lost, nothing leaks, errors are told."""

import sqlite3

import pytest
import typer

from sleepmem.errors import FolderError
from sleepmem.evals.faults import __main__ as command
from sleepmem.evals.faults import children, growth, kills, leaks, load, owners, tally


@pytest.fixture(scope="module", autouse=True)
def preloaded():
    children.preload([*kills.IMPORTED, *load.IMPORTED, *growth.IMPORTED])


def clean(tallies):
    return [one.name for one in tallies if not one.is_clean or not one.asked]


def test_kills_lose_nothing(tmp_path):
    killer = kills.Kills(tmp_path)
    folder = killer.prepared("told", ["Mara has a boat.", "Jon has a dog."])
    jobs = {"observe": kills.observes, "backup": kills.backs_up, "reindex": kills.reindexes}
    found = []
    for name, job in jobs.items():
        found.append(killer.at_work(name, 1, folder=folder, action=job, longest=0.2))
    assert clean(found) == [], tally.examples(found)


def test_a_crowd_on_a_server_loses_nothing(tmp_path):
    crowd = load.Load(tmp_path / "m", workers=2, owners=2, seconds=6, nights=0, earlier=5)
    found = load.run(crowd)
    assert clean(found[:2]) == [], tally.examples(found)


def test_no_question_brings_anothers_text(tmp_path):
    found = leaks.run(tmp_path / "m", questions=60, number=6, threads=6, each=4, asked=0)
    assert clean(found[:-1]) == [], tally.examples(found)


def test_owners_cost_no_files(tmp_path):
    few, many = growth.run(tmp_path / "m", (2, 12), each=3, indexed=3)
    assert few.files == many.files
    assert few.descriptors == many.descriptors


def test_a_leak_and_a_loss_are_seen():
    assert owners.strangers([f"It is {owners.marker(3)}."], 3) == []
    assert owners.strangers([f"It is {owners.marker(4)}."], 3) == [f"It is {owners.marker(4)}."]
    assert owners.strangers([f"{owners.marker(4)}aaaa"], 3) == []  # a model that stammers
    told = tally.Tally("a fault")
    for error in (FolderError("the ledger is locked"), sqlite3.OperationalError("full")):
        with told.call():
            raise error
    assert (told.numbers, told.is_clean) == ((2, 0, 0, 0, 1, 1, 1), False)
    assert "| a fault | 2 | 0 | 0 | 0 | 1 | 1 | 1 |" in tally.table([told])


def test_a_part_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(typer.BadParameter, match="typo"):
        command.main("kills,typo", out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
