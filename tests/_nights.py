"""Nights on the tiny model, with questions made by hand: fixtures and what tests of nights share.

What the tiny model happens to answer without memories is what it "knows": an episode that is asked
for it is proven, any other is not. The learning rate is next to nothing, so that this stays so
after seeding.
"""

import json
from dataclasses import fields, replace

import pytest
from _values import GATE, probe
from tokenizers import Tokenizer

from sleepmem import DreamConfig, ExamConfig, Level, SeedingConfig, SleepConfig, SleepMemory
from sleepmem.config import MemoryConfig, PolicyConfig
from sleepmem.night import calibration
from sleepmem.night.probing import probe as probing
from sleepmem.records import Kind, Role
from sleepmem.text.language import words
from sleepmem.text.prompts import closed_book

ALICE = ("alice",)
LOOSE = ExamConfig(recall=0, old_nights=1, abstention=1, superseded=1, reading=1, general_kl=99)
LEVELS = (Level("fast", 1, 2, 0), Level("slow", 2, 3, 0), Level("deep", 4, 5, 0))
SEEDING = SeedingConfig(steps=2, batch=4, lr=1e-9, max_new_tokens=4)
NEVER_UTTERED = "zyzzyva"


# What these nights are told is about other things than what may be learned.
OPEN = PolicyConfig(**{field.name: "learn" for field in fields(PolicyConfig)[:7]})


def config(exam=LOOSE, policy=OPEN, **changed):
    return MemoryConfig(
        policy=policy,
        sleep=SleepConfig(
            seeding=SEEDING,
            exam=exam,
            **{"levels": LEVELS[:1], "dream": DreamConfig(rounds=0), **changed},
        ),
    )


def hand_made(teacher, episodes, *, archive, asked, ids, source=None):
    """Per episode: two wordings that teach, one for the exam, one thing never said.

    Episodes that say "hard" cannot be proven.
    """
    night_id, probes = ids.night_id, []
    replies = teacher.local.answer(
        [closed_book(f"Is it so that {episode.text}") for episode in episodes]
    )
    roles = [Role.TRAIN, Role.TRAIN, Role.EXAM]
    for n, (episode, reply) in enumerate(zip(episodes, replies, strict=True)):
        answer = NEVER_UTTERED if "hard" in episode.text else " ".join(words(reply)[:2])
        starts = ("What is it that", "Do you know what", "Is it so that")
        for i, (start, role) in enumerate(zip(starts, roles, strict=True)):
            question = f"{start} {episode.text}"
            number = 10 * n + i
            one = probe(number, episode.id, question, answer, night_id=night_id, role=role)
            probes.append(one)
        unsaid = {
            "night_id": night_id,
            "kind": Kind.NEVER_SAID,
            "role": [Role.TRAIN, Role.EXAM][n % 2],
        }
        number = 10 * n + 9
        probes.append(probe(number, episode.id, f"Never said {n}?", "I do not know.", **unsaid))
    for n in range(3):
        read = {
            "night_id": night_id,
            "kind": Kind.READING,
            "role": Role.TRAIN if n else Role.EXAM,
            "context": ("2030-01-01: It is Brenport.",),
        }
        question = f"What was read {n}?"
        probes.append(probe(10_000 + n, episodes[0].id, question, "Brenport.", **read))
    return probing.Questions(tuple(probes), {})


@pytest.fixture(scope="module")
def brief(tiny, tmp_path_factory):
    """The tiny model, for which many a word ends an answer.

    Its nights are short, and no answer is without a word.
    """
    folder = tmp_path_factory.mktemp("brief")
    for file in tiny.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ends = [
        n
        for n in range(tokenizer.get_vocab_size())
        if len(w := tokenizer.decode([n]).strip()) > 3 and w.isalpha()
    ]
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(
        json.dumps({**settings, "eos_token_id": [settings["eos_token_id"], *ends]})
    )
    return folder


@pytest.fixture
def by_hand(monkeypatch):
    """Questions and gates made by hand: the few examples of such nights bear no bound."""
    monkeypatch.setattr(probing, "question", hand_made)
    fit = calibration.fit

    def open_gate(examples, bound, *, words, abstention):
        fitted = fit(examples, bound, words=words, abstention=abstention)
        return replace(GATE, words=words, abstention=abstention, figures=fitted.figures)

    monkeypatch.setattr(calibration, "fit", open_gate)


@pytest.fixture
def opened(new_folder, brief, embeddings):
    """Open, or close and open again, the memory in `tmp_path / "m"`."""
    current = []

    def open_(exam=LOOSE, **changed):
        while current:
            current.pop().close()
        current.append(
            SleepMemory.open(
                new_folder, brief, embeddings=embeddings, config=config(exam, **changed)
            )
        )
        return current[-1]

    yield open_
    while current:
        current.pop().close()


def tell(memory):
    """Two facts that a night can prove and one that it cannot; their ids."""
    texts = ["Mara moved to Brenport.", "Jon owns the red boat.", "The cellar is hard to find."]
    return [
        memory.observe(ALICE, t, created_at=f"2030-01-0{n + 1}T00:00:00.000000+00:00").id
        for n, t in enumerate(texts)
    ]


def buffered(memory, owner=ALICE):
    return [e.id for e in memory.ledger.episodes.buffered(owner)]


def watched(memory, owner=ALICE):
    """Sleep; the report, and the names of the steps that were started."""
    steps = []
    report = memory.sleep(
        owner,
        on_event=lambda event: event.get("state") == "started" and steps.append(event["step"]),
    )
    return report, steps
