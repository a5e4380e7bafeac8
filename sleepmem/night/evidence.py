"""What the gate is calibrated with: the exam's questions, and near misses, as the day sees them.

Each question is looked at as if it were not known itself. Near misses that must not pass are the
teacher's questions about what nobody told, perturbed known questions, questions about a fact as if
it had never been learned, and known questions beside a memory that corrects them. The model of
tonight answers all of them. Reads the stores, writes nothing.
"""

from __future__ import annotations

import functools
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sleepmem.config import GateConfig
from sleepmem.day.gate import (
    EVIDENCE,
    NEIGHBOURS,
    Certainty,
    Evidence,
    Fact,
    Words,
    facts_near,
    weigh,
)
from sleepmem.day.ranking import may_be_news
from sleepmem.day.ways import Ways, core
from sleepmem.model.replies import Reply
from sleepmem.night.calibration import Example
from sleepmem.night.perturbing import Perturber, pieces_of, words_of
from sleepmem.night.replay import evenly
from sleepmem.night.state import NightContext, State, namespace_of, night_id_of
from sleepmem.records import Kind, Neighbour, Probe
from sleepmem.text.frequencies import Frequencies
from sleepmem.text.heads import SURELY_ASKS
from sleepmem.text.kinds import abstains
from sleepmem.text.language import matches
from sleepmem.text.prompts import ABSTENTION, closed_book
from sleepmem.text.terms import terms

# Another fact that explains so much of a perturbed question is what it asks for.
_EXPLAINED = 0.9
# Words of at least this rarity are put where they do not belong; the words that so many wordings
# share say what a fact is about.
_RARE, _TELLING = 0.3, 3
# What is at least so rare in questions is not asked.
_UNASKED = 0.8
# Share of the questions that are looked at as if their fact had never been learned.
_NEVER_LEARNED = 1 / 3
# Other memories that lie in the buffer beside a question.
_BESIDE = 3

FactKey = tuple[str, str]


class Sample(NamedTuple):
    """The examples of a night, the words of its memory, and the model's own abstention."""

    examples: list[Example]
    words: Words
    abstention: str


@dataclass(frozen=True)
class _Case:
    """A question, as it is to be looked at.

    without      ids of known questions that are left out
    buffered     texts of memories in the buffer
    probe        whose answer is wanted; None for a near miss
    fact         that a perturbed question was about
    is_certain   taken for granted that the model would be certain, and wrong
    """

    kind: str
    group: str
    question: str
    without: Collection[str] = ()
    buffered: Sequence[str] = ()
    probe: Probe | None = None
    fact: FactKey | None = None
    is_certain: bool = False


def sample(night: NightContext, state: State, *, experts: Sequence[str]) -> Sample:
    """Look at tonight's and earlier questions, and at near misses of them.

    Args:
        night: model and stores.
        state: which night it is.
        experts: those that are live from tonight on.
    """
    memory = _Memory.read(night, state)
    if not memory.known:
        return Sample([], memory.words, ABSTENTION)
    rng = random.Random(f"{night.config.seeding.seed}/{night_id_of(state)}")
    cases = _cases(memory, night.gate, rng)

    # What the weights say, and how sure they are of it.
    abstention = memory.abstention
    questions = list(dict.fromkeys(case.question for case in cases))
    chats = [closed_book(question) for question in questions]
    given = night.local.reply(chats, experts, abstention=abstention)
    replies = dict(zip(questions, given, strict=True))

    memory.embed([case.question for case in cases])
    memory.embed([text for case in cases for text in case.buffered])
    count = NEIGHBOURS
    examples = []
    for case in cases:
        example = _example(case, memory, reply=replies[case.question], count=count)
        if example is not None:
            examples.append(example)
    return Sample(examples, memory.words, abstention)


@dataclass
class _Memory:
    """What is known tonight.

    known      questions that were passed
    failed     tonight's about facts that were not
    unsaid     about what nobody told
    texts      of the episodes, by id
    rest       of those that are held in part, what is not
    telling    of the episodes that do not surely ask
    vectors    of texts that were embedded
    """

    night: NightContext
    known: list[Probe]
    failed: list[Probe]
    unsaid: list[Probe]
    texts: Mapping[str, str]
    rest: Mapping[str, str]
    telling: Sequence[str]
    words: Words = field(default_factory=Words)
    facts: dict[FactKey, list[Probe]] = field(default_factory=lambda: defaultdict(list))
    vectors: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, night: NightContext, state: State) -> _Memory:
        namespace, nights = namespace_of(state), night.ledger.nights
        kinds = (Kind.FACT, Kind.DREAM)
        passed = nights.learned_probes(namespace, passed=True)
        known = [probe for probe in passed if probe.kind in kinds]
        ids = {probe.id for probe in known}
        failed, unsaid = [], []
        for probe in nights.probes(night_id_of(state)):
            if probe.kind in kinds and probe.id not in ids:
                failed.append(probe)
            # Of earlier nights' some were told since.
            elif probe.kind is Kind.NEVER_SAID:
                unsaid.append(probe)
        texts = {episode.id: episode.text for episode in night.ledger.episodes.all(namespace)}
        asking = night.ledger.episodes.asking(texts)
        telling = [text for one, text in texts.items() if asking[one] < SURELY_ASKS]
        rest = night.ledger.notes.rest(namespace, texts)
        memory = cls(night, known, failed, unsaid, texts, rest, telling)
        for probe in known:
            memory.facts[_fact_of(probe)].append(probe)
        documents = []
        for fact, probes in memory.facts.items():
            documents.append([memory.texts[fact[0]], *(probe.question for probe in probes)])
        asked = [[probe.question for probe in probes] for probes in memory.facts.values()]
        memory.words = Words(Frequencies.of(documents), Frequencies.of(asked), Ways.of(asked))
        memory.embed([probe.question for probe in known])
        return memory

    @property
    def abstention(self) -> str:
        """What the model says most when it does not know."""
        said = Counter(probe.answer for probe in self.unsaid if probe.answer)
        return said.most_common(1)[0][0] if said else ABSTENTION

    def core(self, fact: FactKey) -> set[str]:
        """The terms that all wordings of the fact share."""
        return core([probe.question for probe in self.facts[fact]])

    def vocabulary(self, fact: FactKey) -> set[str]:
        """The terms in which the fact, and what is asked like it, is asked."""
        wordings = [probe.question for probe in self.facts[fact]]
        own = {term for wording in wordings for term in terms(wording)}
        return own.union(*self.words.ways.frames(wordings))

    def taught(self, probe: Probe) -> str:
        """As the index keeps it: a line for each memory."""
        return "\n".join(self.texts[source] for source in probe.sources or (probe.episode_id,))

    def waiting(self, episode_id: str) -> list[str]:
        """What the buffer still has of an episode that is held in part."""
        return [self.rest[episode_id]] if episode_id in self.rest else []

    def embed(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self.vectors]
        vectors = self.night.embeddings.embed_documents(new) if new else []
        for text, vector in zip(new, vectors, strict=True):
            array = np.array(vector)
            self.vectors[text] = array / (np.linalg.norm(array) or 1.0)

    def similarity(self, text: str, other: str) -> float:
        self.embed([text, other])
        return float(self.vectors[text] @ self.vectors[other])

    def near(self, question: str, *, without: Collection[str], count: int) -> list[Neighbour]:
        """Known questions, nearest first."""
        similarities = self._matrix @ self.vectors[question]
        neighbours: list[Neighbour] = []
        for row in np.argsort(-similarities):
            probe = self.known[row]
            if probe.id not in without:
                similarity = float(similarities[row])
                neighbours.append(
                    Neighbour(probe.id, probe.question, similarity, self.taught(probe))
                )
            if len(neighbours) == count:
                break
        return neighbours

    def facts_near(
        self, neighbours: Sequence[Neighbour], *, without: Collection[str]
    ) -> list[Fact]:
        """As the day finds them, without some of their wordings."""
        groups, hidden = {}, {}
        for near in neighbours:
            fact = _fact_of(self._by_id[near.id])
            wordings: list[str] = []
            left_out: list[str] = []
            for probe in self.facts[fact]:
                (left_out if probe.id in without else wordings).append(probe.question)
            groups[near.id] = (str(fact), tuple(sorted(wordings)))
            hidden[groups[near.id][1]] = tuple(left_out)
        facts = facts_near(neighbours, groups)
        return [fact._replace(hidden=hidden[fact.wordings]) for fact in facts]

    @functools.cached_property
    def _matrix(self) -> np.ndarray[Any, Any]:
        return np.stack([self.vectors[probe.question] for probe in self.known])

    @functools.cached_property
    def _by_id(self) -> dict[str, Probe]:
        return {probe.id: probe for probe in self.known}


def _cases(memory: _Memory, config: GateConfig, rng: random.Random) -> list[_Case]:
    """Every question of the sample in all its lights."""
    strangers = _strangers(memory)
    perturber = Perturber(
        rng,
        memory.words.frequencies,
        strangers=strangers,
        others=_other_words(memory, strangers),
    )
    cases: list[_Case] = []
    for probe in evenly(memory.known, config.examples, seed=rng.randrange(1 << 32)):
        fact, group, question = _fact_of(probe), probe.episode_id, probe.question
        about = memory.core(fact)
        beside = [*memory.waiting(group), *_others(memory, probe, rng)]
        whole = [one.id for one in memory.facts[fact]]
        correction = perturber.corrected(memory.taught(probe), about, values=probe.answer)
        cases += [
            _Case("", group, question, {probe.id}, beside, probe),
            _Case("corrected", group, question, {probe.id}, [correction, *beside]),
        ]
        # The plainest of the near misses, so not of every question.
        if rng.random() < _NEVER_LEARNED:
            cases.append(_Case("never learned", group, question, whole, is_certain=True))
        own = memory.vocabulary(fact) | set(terms(memory.taught(probe)))
        few = config.near_misses
        for perturbed in perturber.perturbed(question, about, own=own, count=few):
            cases.append(_Case("perturbed", group, perturbed, (), beside, fact=fact))
    for probe in memory.failed[: config.examples]:
        buffered = memory.waiting(probe.episode_id) or [memory.texts[probe.episode_id]]
        cases.append(_Case("", probe.episode_id, probe.question, (), buffered, probe))
    for probe in evenly(memory.unsaid, config.examples, seed=rng.randrange(1 << 32)):
        cases.append(_Case("never told", probe.episode_id, probe.question))
    return cases


def _strangers(memory: _Memory) -> list[str]:
    """What facts are about and what they answer, word by word, as far as it is rare."""
    words: dict[str, None] = {}
    for fact, probes in memory.facts.items():
        about = memory.core(fact) if len(probes) >= _TELLING else set()
        words.update(dict.fromkeys(words_of(probes[0].question, about)))
        words.update(dict.fromkeys(words_of(fact[1], terms(fact[1]))))
    rare = []
    for word in words:
        if memory.words.frequencies.mass(terms(word)) >= _RARE:
            rare.append(word)
    return rare


def _other_words(memory: _Memory, strangers: Collection[str]) -> list[str]:
    """The words of what was told that hardly any question uses, without those."""
    words: dict[str, None] = {}
    for text in memory.telling:
        for piece in pieces_of(text):
            rarest = max(map(memory.words.asked.rarity, terms(piece.text)), default=0.0)
            if piece.is_word and piece.text not in strangers and rarest >= _UNASKED:
                words[piece.text] = None
    return list(words)


def _others(memory: _Memory, probe: Probe, rng: random.Random) -> list[str]:
    """Some memories that are about others, in the buffer."""
    about, others = memory.core(_fact_of(probe)), []
    for fact in memory.facts:
        text = memory.texts[fact[0]]
        if memory.words.frequencies.share(about, terms(text)) < _RARE:
            others.append(text)
    return rng.sample(others, min(_BESIDE, len(others)))


def _example(case: _Case, memory: _Memory, *, reply: Reply, count: int) -> Example | None:
    """The case with its evidence; None where nothing is known, or it is no miss after all."""
    neighbours = memory.near(case.question, without=case.without, count=count)
    facts = memory.facts_near(neighbours, without=case.without)
    if not facts:
        return None
    relatedness = memory.night.folder.relatedness
    buffered = []
    for text in case.buffered:
        similarity = memory.similarity(case.question, text)
        buffered.append(Neighbour(text, text, similarity, text))
    evidence = weigh(
        case.question,
        facts,
        buffered=buffered,
        words=memory.words,
        similarity=lambda text: memory.similarity(case.question, text),
        news=lambda taught, one: may_be_news(relatedness, one.similarity),
    )
    if evidence.in_meaning is not None and evidence.challenger is None:
        return None  # by day it is read, whatever the gate says
    if case.fact is not None and _is_of_another(case.fact, evidence, memory):
        return None
    may_pass = case.probe is not None and matches(reply.text, case.probe.answer)
    certainty = Certainty(reply.confidence, reply.abstention)
    abstained = certainty.abstains or abstains(reply.text)
    costs = case.is_certain or not (may_pass or abstained)
    certainty = Certainty() if case.is_certain else certainty
    return Example(case.group, evidence.features, certainty, may_pass, costs, case.kind)


def _is_of_another(fact: FactKey, evidence: Evidence, memory: _Memory) -> bool:
    """Whether a perturbed question asks for what the weights do hold: another fact."""
    own = {probe.question for probe in memory.facts[fact]}
    features = dict(zip(EVIDENCE, evidence.features, strict=True))
    explains = min(features["core_asked"], features["nothing_strange"])
    return own.isdisjoint(evidence.fact.wordings) and explains > _EXPLAINED


def _fact_of(probe: Probe) -> FactKey:
    return probe.episode_id, probe.answer
