"""why, forget and receipts, as a user types them."""

import hashlib
import json

from typer.testing import CliRunner

from sleepmem import SleepMemory
from sleepmem.cli import app

run = CliRunner().invoke
ALICE = ("-n", "alice")


def told(folder: str) -> list[str]:
    with SleepMemory.open(folder) as memory:
        return [one.text for one in memory.ledger.episodes.all(("alice",))]


def test_why_tells_where_an_answer_came_from_and_proves_it(folder: str) -> None:
    asked = ["why", folder, "Where does Mara live?", *ALICE]
    found = json.loads(run(app, [*asked, "--json"]).stdout)
    assert found["answer"] == "Brenport."
    assert [one["text"] for one in found["episodes"]] == ["Mara lives in Brenport."]
    assert found["provenance"]["citations"][0]["episode"] == found["episodes"][0]["id"]
    (alone,) = found["ablations"]
    assert (alone["without"], alone["stays"], found["proven"]) == ("memories", False, True)
    shown = run(app, asked)
    assert shown.exit_code == 0, shown.output
    assert "from: retrieval" in shown.stdout
    assert "Mara lives in Brenport." in shown.stdout
    assert shown.stdout.splitlines()[-1] == "proven"
    with SleepMemory.open(folder) as memory:
        assert memory.ledger.turns.retrievals(("alice",)) == []


def test_why_without_a_memory_says_so(folder: str) -> None:
    shown = run(app, ["why", folder, "How many moons has Jupiter?", *ALICE])
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[-1] == "no memory was used"
    assert run(app, ["why", folder, "Where does Mara live?", "-n", "bob"]).exit_code == 1


def test_forget_lists_asks_and_gives_a_receipt(folder: str) -> None:
    run(app, ["observe", folder, "My number is 555-0199.", *ALICE])
    chosen = ["forget", folder, "--about", "What is my number?", *ALICE]
    listed = json.loads(run(app, [*chosen, "--dry-run", "--json"]).stdout)
    assert [one["text"] for one in listed["episodes"]] == ["My number is 555-0199."]
    assert (listed["experts"], listed["telling"]) == ([], [])
    refused = run(app, chosen, input="n\n")
    assert refused.exit_code == 1
    assert "nothing was forgotten" in refused.stderr
    assert len(told(folder)) == 2
    done = run(app, chosen, input="y\n")
    assert done.exit_code == 0, done.output
    assert "receipt 1: 1 episodes forgotten" in done.stdout
    assert told(folder) == ["Mara lives in Brenport."]
    shown = json.loads(run(app, ["receipts", folder, "--verify", "--json"]).stdout)
    assert shown["faults"] == []
    assert shown["receipts"][0]["removed"]["episodes"] == 1
    assert "receipt" in run(app, ["receipts", folder]).stdout
    assert run(app, ["verify", folder]).exit_code == 0


def test_where_a_number_is_told_still_is_listed(folder: str) -> None:
    run(app, ["observe", folder, "My number is 555-0199.", *ALICE])
    run(app, ["observe", folder, "Karo may call 555-0199 after six.", *ALICE])
    with SleepMemory.open(folder) as memory:
        first, other = [
            one.id for one in memory.ledger.episodes.all(("alice",)) if "0199" in one.text
        ]
    chosen = ["forget", folder, "--episode", first, "--dry-run", *ALICE]
    assert [one["id"] for one in json.loads(run(app, [*chosen, "--json"]).stdout)["telling"]] == [
        other
    ]
    assert f"still told in {other}" in run(app, chosen).stdout.replace("\n", " ")


def test_with_json_stdout_has_json_alone(folder: str) -> None:
    chosen = ["forget", folder, "--json", *ALICE]
    done = run(app, [*chosen, "--before", "2001-01-01", "--yes"])
    assert json.loads(done.stdout) is None
    done = run(app, [*chosen, "--everything"], input="y\n")
    typed, _, printed = done.stdout.partition("\n")  # what a terminal echoes comes along here
    assert typed.strip() == "y"
    assert json.loads(printed)["removed"]["episodes"] == 1
    assert "Mara lives in Brenport." in done.stderr


def test_everything_goes_without_a_question_when_told_so(folder: str) -> None:
    done = run(app, ["forget", folder, "--everything", "--yes", "--json", *ALICE])
    assert json.loads(done.stdout)["asked"] == {"everything": True, "confirmed": 1}
    assert told(folder) == []
    again = run(app, ["forget", folder, "--everything", "--yes", *ALICE])
    assert (again.exit_code, again.stdout.strip()) == (0, "there is nothing of it")
    assert run(app, ["forget", folder, "--everything", "-n", "nobody"]).exit_code == 1


def test_what_somebody_only_asked_is_forgotten_too(folder: str) -> None:
    with SleepMemory.open(folder) as memory:
        memory.recall(("bob",), "Can I tell my boss that I quit?")
    done = run(app, ["forget", folder, "--everything", "--yes", "--json", "-n", "bob"])
    assert json.loads(done.stdout)["removed"]["retrievals"] == 1
    with SleepMemory.open(folder) as memory:
        assert memory.ledger.turns.retrievals(("bob",)) == []
        assert memory.verify() == []


def test_the_receipt_says_how_it_was_chosen(folder: str) -> None:
    about = ["forget", folder, "--yes", "--json", "--about", "Where does Mara live?", *ALICE]
    asked = json.loads(run(app, about).stdout)["asked"]
    with SleepMemory.open(folder) as memory:
        words = memory.ledger.forgotten.keyed("Where does Mara live?")
    assert asked == {"about": words, "confirmed": 1}
    assert words != hashlib.sha256(b"Where does Mara live?").hexdigest()


def test_a_receipt_that_was_changed_is_found(folder: str) -> None:
    run(app, ["forget", folder, "--everything", "--yes", *ALICE])
    with SleepMemory.open(folder) as memory, memory.ledger.database.write() as db:
        db.execute("UPDATE receipts SET at = '2020-01-01'")
    assert run(app, ["receipts", folder]).exit_code == 0
    found = run(app, ["receipts", folder, "--verify"])
    assert found.exit_code == 1
    assert "receipt 1 is not what was written" in found.stdout


def test_what_cannot_be_forgotten_is_one_sentence(folder: str) -> None:
    for given, said in (
        ([], "nothing was chosen"),
        (["--episode", "x"], "there is no episode"),
        (["--before", "soon"], "must be a date"),
    ):
        done = run(app, ["forget", folder, *given, *ALICE])
        assert done.exit_code == 1
        assert said in done.stderr
