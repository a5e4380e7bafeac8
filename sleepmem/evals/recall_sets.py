"""What the bench of recall asks: owners with what they told, their questions, and the evidence.

Public sets are read from gzipped JSON lines of one folder; nothing of their text is in this
package. A file `NAME.jsonl.gz` holds one row a line:

squad_v1_dev     {title, context, questions: [{question}]}
fairytaleqa      {id, sections: [text], qa: [{question, sections: "1,2"}]}
sgd_dialogues    {id, services, turns: [["U" or "S", text]], final_state: {service: {slot: values}}}
memorybank_en    {user, history: [{date, turns: [{query, response}]}], probing_questions: [text]}
clinc150         {text, intent}

They are SQuAD 1.1 (`rajpurkar/squad` on the hub), FairytaleQA (`WorkInTheDark/FairytaleQA`),
Schema-Guided Dialogue (`google-research-datasets/schema_guided_dstc8`), MemoryBank (the repository
zhongwanjun/MemoryBank-SiliconFriend), CLINC150 (`clinc/clinc_oos`): `datasets` loads those of the
hub, and its rows are written in these forms with `gzip` and `json`.

LoCoMo (`locomo10.json`) and LongMemEval (`longmemeval_s.json` and the like) are read as published.
Everything that is sampled is sampled by a seed.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

# When the first memory of a set without dates was told; the next each a minute later.
_FIRST_DAY = datetime(2024, 1, 1, 8)
STORIES_OF_AN_OWNER = 30
DIALOGUES_OF_AN_OWNER = 10


@dataclass(frozen=True)
class Memory:
    """One thing that an owner tells.

    text     what was said
    answers  the line of the agent just before it; empty without one
    told_at  when, ISO 8601
    thread   of which conversation or document
    """

    text: str
    answers: str = ""
    told_at: str = ""
    thread: str = ""

    @property
    def rendered(self) -> str:
        """The text that every arm stores: what it answers, then what was said."""
        return f"{self.answers} - {self.text}" if self.answers else self.text


class Question(NamedTuple):
    """What the owner asks, and the indices of the memories that are evidence; none is needed when
    there are none."""

    text: str
    evidence: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Owner:
    """Whose memory it is: what was told, oldest first, and what is asked of it."""

    name: str
    memories: tuple[Memory, ...]
    questions: tuple[Question, ...]


# Evidence of MemoryBank's probing questions, labelled by reading the histories: user -> number of
# the question -> (day, turn) of the user's turns that are evidence. What the agent said stands in
# what the next turn answers, so that turn is the evidence; what it said last on a day is in no
# memory, and such questions are left out, as are those about what was never said. Numbers count
# from 0.
MEMORYBANK_EVIDENCE: Mapping[str, Mapping[str, list[tuple[int, int]]]] = json.loads(
    Path(__file__).with_name("recall_memorybank.json").read_text(encoding="utf-8")
)

# How a value that an owner gave is asked for: names of the schema only.
_WORDINGS = (
    "Which {slot} did I ask for with {service}?",
    "What {slot} did I want for {service}?",
    "For {service}, which {slot} did I give you?",
    "{service}: what was the {slot}?",
    "Remind me of the {slot} I chose for {service}.",
    "Tell me my {slot} for {service}",
    "I need the {slot} again that we had for {service}",
    "What did I say about {slot} when it was about {service}?",
)
# How a user begins who takes what the agent just said.
_AGREEING = re.compile(
    "(yes|yeah|yep|yup|sure|ok|okay|right|correct|perfect|great|good|fine|absolutely|exactly"
    r"|certainly|that's|sounds)\b",
    re.IGNORECASE,
)
# Not said in these words, or said of anything.
_UNSAID = frozenset({"true", "false", "dontcare"})
_SHORTEST_VALUE = 3

# Turns that need no memory of what this owner told: to the agent, or about the world.
NO_MEMORY_INTENTS = (
    "are_you_a_bot",
    "calculator",
    "change_accent",
    "change_volume",
    "definition",
    "do_you_have_pets",
    "flip_coin",
    "fun_fact",
    "goodbye",
    "greeting",
    "how_old_are_you",
    "maybe",
    "meaning_of_life",
    "measurement_conversion",
    "no",
    "oos",
    "roll_dice",
    "spelling",
    "tell_joke",
    "thank_you",
    "time",
    "timer",
    "weather",
    "what_are_your_hobbies",
    "what_can_i_ask_you",
    "what_is_your_name",
    "where_are_you_from",
    "who_do_you_work_for",
    "who_made_you",
    "yes",
)


def read_rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """The rows of one set.

    Raises:
        FileNotFoundError: the folder does not hold it; says which file is missing.
    """
    file = folder / f"{name}.jsonl.gz"
    if not file.exists():
        raise FileNotFoundError(f"there is no {file}; the docstring of {__name__} says its form.")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def squad(folder: Path, *, most: int, seed: int) -> list[Owner]:
    """One owner with all passages as documents; `most` questions."""
    memories, questions = [], []
    for index, row in enumerate(read_rows(folder, "squad_v1_dev")):
        memories.append(Memory(row["context"], "", minute(index), row["title"]))
        for asked in row["questions"]:
            questions.append(Question(asked["question"], frozenset([index])))
    return [_owner("squad", memories, questions=_sampled(questions, most, seed=seed))]


def fairytales(
    folder: Path, *, most: int, seed: int, stories: int = STORIES_OF_AN_OWNER
) -> list[Owner]:
    """One owner with some stories, section by section; `most` questions."""
    rows = _sampled(list(read_rows(folder, "fairytaleqa")), stories, seed=seed)
    memories: list[Memory] = []
    questions = []
    for row in rows:
        first = len(memories)
        for section in row["sections"]:
            memories.append(Memory(section, "", minute(len(memories)), row["id"]))
        for asked in row["qa"]:
            evidence = set()
            for number in re.findall(r"\d+", str(asked["sections"])):
                evidence.add(first + int(number) - 1)
            if evidence:
                questions.append(Question(asked["question"], frozenset(evidence)))
    return [_owner("fairytales", memories, questions=_sampled(questions, most, seed=seed))]


def memorybank(folder: Path, *, most: int, seed: int) -> list[Owner]:
    """One owner per user: their turns, each with what the agent said before it that day."""
    owners = []
    for row in read_rows(folder, "memorybank_en"):
        memories: list[Memory] = []
        index_of = {}
        for day, conversation in enumerate(row["history"]):
            answers = ""
            for turn, said in enumerate(conversation["turns"]):
                index_of[day, turn] = len(memories)
                told_at = minute(turn, datetime.fromisoformat(conversation["date"]))
                memories.append(Memory(said["query"], answers, told_at, f"day {day}"))
                answers = said["response"]
        questions = []
        for number, turns in MEMORYBANK_EVIDENCE.get(row["user"], {}).items():
            evidence = frozenset(index_of[day, turn] for day, turn in turns)
            text = row["probing_questions"][int(number)].strip('"')
            questions.append(Question(text, evidence))
        owners.append(_owner(row["user"], memories, questions=questions))
    return _with_most(owners, most, seed=seed)


def dialogues(folder: Path, *, most: int, seed: int) -> list[Owner]:
    """Owners of about ten task dialogues each, no two about the same kind of service.

    So one value answers what an owner is asked. Every turn of the user is a memory; evidence are
    those in which a value of the final state was said, and those that agree to a line of the agent
    with it.
    """
    rng = random.Random(seed)
    rows = list(read_rows(folder, "sgd_dialogues"))
    rng.shuffle(rows)
    owners: list[Owner] = []
    asked = 0
    while rows and asked < most:
        chosen, rows = _apart(rows)
        owner = _customer(f"customer {len(owners)}", chosen, rng=rng)
        if not owner.questions:
            break
        owners.append(owner)
        asked += len(owner.questions)
    return _with_most(owners, most, seed=seed)


def no_memory_needed(folder: Path, *, most: int, seed: int) -> list[Owner]:
    """Owners of task dialogues, asked what needs no memory: small talk, and about the world."""
    turns = []
    for row in read_rows(folder, "clinc150"):
        if row["intent"] in NO_MEMORY_INTENTS:
            turns.append(Question(row["text"]))
    turns = _sampled(turns, most, seed=seed)
    owners = dialogues(folder, most=most, seed=seed)
    shared = []
    for index, owner in enumerate(owners):
        questions = turns[index :: len(owners)]
        shared.append(_owner(owner.name, owner.memories, questions=questions))
    return shared


def languages(*, most: int, seed: int) -> list[Owner]:
    """One owner per language with the same facts, told and asked in it; our own sentences."""
    file = Path(__file__).with_name("recall_languages.json")
    owners = []
    for language, facts in json.loads(file.read_text(encoding="utf-8")).items():
        memories, questions = [], []
        for index, (told, asked) in enumerate(facts):
            memories.append(Memory(told, "", minute(index), language))
            questions.append(Question(asked, frozenset([index])))
        owners.append(_owner(language, memories, questions=questions))
    return _with_most(owners, most, seed=seed)


def no_memory_needed_in_languages(*, most: int, seed: int) -> list[Owner]:
    """The owners of `languages`, asked in their language what needs no memory; our own turns."""
    file = Path(__file__).with_name("recall_general.json")
    turns = json.loads(file.read_text(encoding="utf-8"))
    owners = []
    for owner in languages(most=most, seed=seed):
        questions = [Question(text) for text in turns[owner.name]]
        owners.append(_owner(owner.name, owner.memories, questions=questions))
    return _with_most(owners, most, seed=seed)


def locomo(file: Path, *, most: int, seed: int) -> list[Owner]:
    """LoCoMo as published: one owner per conversation, each turn of both a memory.

    Adversarial questions (category 5) and those without evidence are left out.
    """
    owners = []
    for number, sample in enumerate(json.loads(file.read_text(encoding="utf-8"))):
        conversation = sample["conversation"]
        memories: list[Memory] = []
        index_of = {}
        sessions = [key for key in conversation if re.fullmatch(r"session_\d+", key)]
        for session in sorted(sessions, key=lambda key: int(key.split("_")[1])):
            day = datetime.strptime(
                conversation[f"{session}_date_time"].upper(), "%I:%M %p ON %d %B, %Y"
            )
            for turn, said in enumerate(conversation[session]):
                picture = said.get("blip_caption")
                shown = f" [shares {picture}]" if picture else ""
                index_of[_dialogue_id(said["dia_id"])] = len(memories)
                text = f"{said['speaker']}: {said['text']}{shown}"
                memories.append(Memory(text, "", minute(turn, day), session))

        questions = []
        for asked in sample["qa"]:
            evidence = _known_turns(asked.get("evidence") or [], index_of)
            if evidence and asked.get("category") != 5:
                questions.append(Question(asked["question"], evidence))
        name = str(sample.get("sample_id", number))
        owners.append(_owner(name, memories, questions=questions))
    return _with_most(owners, most, seed=seed)


def longmemeval(file: Path, *, most: int, seed: int) -> list[Owner]:
    """LongMemEval as published: one owner per question with its own haystack.

    The turns of the user are memories, each with what the assistant said before it. Evidence are
    the turns with `has_answer`; for one of the assistant, the turn that comes after it. Questions
    without evidence, as those to abstain from, are left out.
    """
    owners = []
    for row in json.loads(file.read_text(encoding="utf-8")):
        memories: list[Memory] = []
        evidence = set()
        sessions = zip(
            row["haystack_session_ids"],
            row["haystack_dates"],
            row["haystack_sessions"],
            strict=True,
        )
        for session_id, date, session in sessions:
            day = datetime.strptime(date, "%Y/%m/%d (%a) %H:%M")
            answers, is_evidence = "", False
            for turn, said in enumerate(session):
                is_evidence |= bool(said.get("has_answer"))
                if said["role"] != "user":
                    answers = said["content"]
                    continue
                if is_evidence:
                    evidence.add(len(memories))
                memories.append(Memory(said["content"], answers, minute(turn, day), session_id))
                answers, is_evidence = "", False
        if evidence and not str(row["question_id"]).endswith("_abs"):
            question = Question(row["question"], frozenset(evidence))
            owners.append(_owner(row["question_id"], memories, questions=[question]))
    return _sampled(owners, most, seed=seed)


def _owner(name: str, memories: Sequence[Memory], *, questions: Sequence[Question]) -> Owner:
    return Owner(name, tuple(memories), tuple(questions))


def _sampled(values: Sequence[T], most: int, *, seed: int) -> list[T]:
    """At most so many of them, in their order."""
    if len(values) <= most:
        return list(values)
    chosen = sorted(random.Random(seed).sample(range(len(values)), most))
    return [values[index] for index in chosen]


def _with_most(owners: Sequence[Owner], most: int, *, seed: int) -> list[Owner]:
    """The owners with at most so many questions together, and none without any."""
    pairs = []
    for number, owner in enumerate(owners):
        pairs += [(number, question) for question in owner.questions]
    chosen = _sampled(pairs, most, seed=seed)
    shared = []
    for number, owner in enumerate(owners):
        questions = [question for whose, question in chosen if whose == number]
        if questions:
            shared.append(_owner(owner.name, owner.memories, questions=questions))
    return shared


def minute(index: int, day: datetime = _FIRST_DAY) -> str:
    return (day + timedelta(minutes=index)).isoformat() + "+00:00"


# The task dialogues


def _domain(service: str) -> str:
    """Restaurants_2 and Restaurants_1 are about the same."""
    return service.rsplit("_", 1)[0]


def _apart(
    rows: Sequence[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first ten whose services do not overlap, and the rest."""
    chosen: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    taken: set[str] = set()
    for row in rows:
        domains = {_domain(service) for service in row["services"]}
        if len(chosen) < DIALOGUES_OF_AN_OWNER and not domains & taken:
            chosen.append(row)
            taken |= domains
        else:
            rest.append(row)
    return chosen, rest


def _customer(name: str, rows: Sequence[dict[str, Any]], *, rng: random.Random) -> Owner:
    """What one owner said in these dialogues, and a question about each value of their states."""
    memories: list[Memory] = []
    questions = []
    for day, row in enumerate(rows):
        first = len(memories)
        answers = ""
        for turn, (speaker, text) in enumerate(row["turns"]):
            if speaker == "U":
                told_at = minute(turn, _FIRST_DAY + timedelta(days=day))
                memories.append(Memory(text, answers, told_at, row["id"]))
            answers = text if speaker == "S" else ""
        for service, state in row["final_state"].items():
            for slot, values in state.items():
                evidence = set()
                for index in range(first, len(memories)):
                    if _gives(memories[index], values):
                        evidence.add(index)
                if evidence:
                    text = rng.choice(_WORDINGS).format(slot=_plain(slot), service=_plain(service))
                    questions.append(Question(text[0].upper() + text[1:], frozenset(evidence)))
    return _owner(name, memories, questions=questions)


def _gives(memory: Memory, values: Sequence[str]) -> bool:
    """Whether one of the values was said in it, or agreed to."""
    spoken = memory.rendered if _AGREEING.match(memory.text) else memory.text
    for value in values:
        is_said = len(value) >= _SHORTEST_VALUE and value.lower() not in _UNSAID
        if is_said and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", spoken, re.IGNORECASE):
            return True
    return False


def _plain(name: str) -> str:
    """A name of the schema in words: `RideSharing_1` is "ride sharing"."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", re.sub(r"_\d+$", "", name))
    return " ".join(parts).lower()


# LoCoMo


def _dialogue_id(text: str) -> tuple[int, int] | None:
    """Session and turn of `D1:3`; a few are written `D:1:3` or `D1:03`."""
    match = re.search(r"D:?(\d+):(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def _known_turns(
    references: Sequence[str], index_of: Mapping[tuple[int, int] | None, int]
) -> frozenset[int]:
    """Indices of the turns that are referred to; a few references hold several."""
    known = set()
    for reference in references:
        for part in re.split(r"[;,\s]+", str(reference)):
            key = _dialogue_id(part)
            if key is not None and key in index_of:
                known.add(index_of[key])
    return frozenset(known)
