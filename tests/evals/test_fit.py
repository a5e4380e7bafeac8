"""What `sleepmem fit` asks of a model, and how it judges the answers."""

import json
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from sleepmem.cli import app
from sleepmem.config import ProbeConfig, SleepConfig
from sleepmem.evals.fit import measures, people, verdict
from sleepmem.evals.fit.__main__ import main as fit_main
from sleepmem.model.local import LocalModel
from sleepmem.model.profiles import Profile
from sleepmem.records import Score
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.language import matches
from sleepmem.text.prompts import ABSTENTION, NOTES, format_pair


class Scripted:
    """Answers each chat by a function of its question and its memories."""

    context_length = 10_000

    def __init__(self, answer, notes="whole"):
        self._answer, self.profile = answer, Profile(notes=notes)

    def count_tokens(self, text):
        return len(text.split())

    def answer(self, chats, experts=(), **settings):
        answers = []
        for chat in chats:
            memories = chat[0]["content"] if len(chat) > 1 else ""
            answers.append(self._answer(chat[-1]["content"], memories))
        return answers


def written():
    return people._written()["messages"]


@pytest.mark.parametrize("template", written(), ids=lambda one: one["text"][:30])
def test_every_message_tells_its_facts_and_no_unknown(template):
    for seed in range(3):
        message = people._made(random.Random(seed), template, without=())
        assert "{" not in json.dumps(message[:3])
        for fact in message.facts:
            assert len(fact.asks) == 2
            assert matches(message.text, fact.answer)
            assert not any(matches(ask, fact.answer) for ask in fact.asks)
            assert all(matches(message.text, key) for key in fact.keys)
        if message.news:
            text, place, answer = message.news
            assert matches(text, answer)
            assert not matches(answer, message.facts[place].answer)


def test_the_cases_are_the_same_for_every_model_and_differ():
    def cases(kind):
        return people.drawn(random.Random("x"), 500, make=kind)

    assert cases(people.newest) == cases(people.newest)
    assert len(set(cases(people.newest))) == 500


def test_memories_beside_are_about_others():
    for seed in range(50):
        told = people.messages(random.Random(seed), 8)
        names = [name for message in told for name in message.names]
        assert len(names) == len(set(names))


def test_a_model_that_repeats_its_memories_reads_and_does_not_abstain():
    found = {one.name: one for one in measures.read(Scripted(lambda asked, read: read), 20)}
    assert found["reads 8 memories"].score.rate == 1.0
    assert found["the newest of two wins"].score.rate == 0.0  # the old value is in it, too
    assert not found["abstains over 4 memories"].is_reached


def test_a_model_that_never_knows_abstains_and_does_not_read():
    found = {one.name: one for one in measures.read(Scripted(lambda *_: ABSTENTION), 20)}
    assert found["reads 1 memory"].score.rate == 0.0
    assert found["abstains without any"].is_reached


@pytest.mark.parametrize(
    ("question", "answer", "is_right"),
    [
        ("Where does Greta live?", "In Graz.", True),
        ("Where does Greta live?", "Graz, and she is a vet.", False),  # of two facts
        ("Who lives in Graz, Greta?", "Graz", False),  # tells its answer
        ("Where does she live?", "Graz", False),  # asks about nobody
        ("Where does Greta live?", "In Lugo.", False),
        ("Who lives in Graz?", "Greta", True),
        ("Who is it?", "Greta", False),
    ],
)
def test_a_pair_is_right_when_it_asks_for_one_fact(question, answer, is_right):
    facts = (
        people.Fact(("", ""), "Graz", ("Greta", "Graz")),
        people.Fact(("", ""), "a vet", ("Greta", "a vet")),
    )
    message = people.Message("Greta, a vet, lives in Graz.", facts, (), frozenset({"Greta"}))
    assert measures._is_right(message, question, answer) is is_right


def test_pairs_are_asked_for_as_a_night_does():
    teacher = Scripted(lambda *_: format_pair("Who?", "Nobody."))
    form, right, checked = measures.write(teacher, 10)
    assert (form.score.rate, right.score.rate) == (1.0, 0.0)
    assert checked.score.total == 0  # it does not answer what it asks


def drawn(write):
    """The measures of a model that draws so."""

    def answer(asked, _):
        return write(asked.removeprefix(NOTES)) if asked.startswith(NOTES) else ABSTENTION

    return {one.name: one.score.rate for one in measures.write(Scripted(answer, "drawn"), 20)}


def test_notes_hold_each_fact_and_nothing_else():
    parts = drawn(lambda part: part)
    # Who "she" is and what "it" is, a sentence alone does not tell.
    assert 0.5 < parts["notes hold each fact"] < 1.0
    assert parts["notes hold nothing else"] == 1.0
    false = drawn(lambda part: f"Wenzeslaus told {part}")
    assert false["notes hold nothing else"] == 0.0
    assert drawn(lambda part: "Nothing.")["notes hold each fact"] == 0.0


def test_what_a_memory_does_not_need_is_told_and_nothing_hangs_on_it():
    def abstain(*_):
        return ABSTENTION

    needed = {one.name: one.is_reached for one in measures.read(Scripted(abstain), 10, recalled=2)}
    assert not needed["reads 2 memories"]
    assert needed["reads 4 memories"]
    nothing = {one.name: one for one in measures.write(Scripted(abstain, "sentences"), 10)}
    assert nothing["notes hold each fact"].score.rate == 0.0
    assert nothing["notes hold each fact"].is_reached
    assert not nothing["writes right pairs"].is_reached


def test_nights_are_foretold_by_their_settings():
    short = SleepConfig(probe=ProbeConfig(samples=1, rewordings=0, inventions=0))
    assert replace(MADE, sleep=short).nights[20] < MADE.nights[20]


def test_the_embedded_model_knows_its_world_and_no_other():
    local = LocalModel(EMBEDDED)
    found = verdict.fit(local, count=10)
    assert local.experts == ()
    assert not found.is_good
    by_name = {one.name: one for one in found.measures}
    assert by_name["abstains without any"].is_reached
    assert not by_name["reads 4 memories"].is_reached
    assert found.nights[20] < found.nights[100]
    assert found.placements.keys() == {"system", "user"}
    assert local.profile.memories == "system"  # as before


MADE = verdict.Fit(
    "m",
    (measures.Measure("reads", Score(3, 10), 0.8, "use another"),),
    "system",
    {"system": Score(3, 10), "user": Score(8, 10)},
    measures.Speeds(100.0, 10.0, 20.0),
    1.0,
)


def test_the_command_says_what_to_do_and_ends_with_a_code(monkeypatch):
    monkeypatch.setattr(verdict, "fit", lambda local, **settings: MADE)
    monkeypatch.setattr("sleepmem.model.local.LocalModel", lambda *_: SimpleNamespace())
    shown = CliRunner().invoke(app, ["fit", "m"])
    assert shown.exit_code == 3
    assert "use another" in shown.stdout
    assert "cannot be its own teacher" in shown.stdout
    assert "set ModelConfig.memories to 'user'" in shown.stdout
    read = json.loads(CliRunner().invoke(app, ["fit", "m", "--json"]).stdout)
    assert read["measures"][0]["advice"] == "use another"
    assert read["memories"]["better"] == "user"
    assert read["night_seconds"].keys() == {"20", "100"}


def test_a_model_that_is_not_there_is_one_sentence(tmp_path):
    shown = CliRunner().invoke(app, ["fit", str(tmp_path)])
    assert shown.exit_code == 1
    assert "could not be loaded" in shown.stderr


def test_what_fit_said_is_drawn(tmp_path):
    file, out = tmp_path / "m.json", tmp_path / "new" / "fit.png"
    file.write_text(json.dumps(MADE.as_dict()))
    fit_main(["model=" + str(file)], out=out)
    assert out.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(typer.BadParameter, match="holds nothing of"):
        fit_main([str(out)], out=out)
