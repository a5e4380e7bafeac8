"""The gate: answer from the weights, or retrieve. Pure.

From the weights only on evidence. A question is held against the fact of an exam that it is nearest
to, the memory that taught it, and what is fresher in the buffer; how near, how much of the one the
other explains, what rare term is left over, and in which order, become features, and every night
fits one logistic model of them (`night/calibration.py`). Every feature speaks for the weights the
more the larger it is, so that no further evidence shuts the gate. No list of words, no grammar, no
capital letters: what is rare in a memory is what makes a question another (`text/frequencies.py`).

First the gate takes for granted that the model will be certain. When even that does not do, the
question retrieves at once; else the model answers, and how certain it was decides whether its
answer stands. Without a calibrated bound the gate stays shut.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sleepmem.day.ways import Ways, core
from sleepmem.records import Neighbour, View
from sleepmem.text.frequencies import Frequencies
from sleepmem.text.rarity import commonness
from sleepmem.text.spelling import begin_alike
from sleepmem.text.terms import terms

# What is known of a question before it is answered, and after.
EVIDENCE = (
    "near",  # cosine to the nearest wording of the fact
    "apart",  # by how much the nearest wording of any other fact is farther
    "asked_in_wordings",  # share of the question's rarity that stands in the fact's wordings
    "explained",  # the same, or in the memory that taught it
    "core_asked",  # share of what all its wordings share that stands in the question
    "wording_covered",  # share of the likest wording that stands in the question
    "nothing_rare_left",  # 1 less the rarity of the rarest term that is not explained
    "nothing_strange",  # the same, of terms in which the like was never asked of others either
    "nothing_added",  # 1 less how much it is a known wording with something strange in it
    "numbers_known",  # whether every number of the question is explained
    "in_order",  # 1 less how much the same terms stand in another order
    "weakest",  # the least of the last five and of core_asked
    "unchallenged",  # 1 less how much a fresher memory is about the same
)
CERTAINTY = (
    "confident",  # probability of the least likely token of the answer
    "not_abstaining",  # how unlikely its own abstention was
)
FEATURES = (*EVIDENCE, *CERTAINTY)

# An abstention that is less likely than e to the power of this tells nothing more.
_LEAST_ABSTENTION = -12.0
# One that is more likely than not is what the model would rather have said.
_LIKELY = math.log(0.5)
# How much what a fact is about decides which fact a question is held against, beside the cosine.
_BY_CORE = 0.3
# Known questions and buffered memories that are weighed.
NEIGHBOURS = 20
# A memory with more than this share of what a question is about may be about the same.
_ABOUT = 0.5
# What a smaller share of texts at large has may be a name: the news of others is no news of it.
_MAY_BE_NAME = 1e-5


class Fact(NamedTuple):
    """What was answered right in an exam.

    wordings    its questions that were
    taught      the text of the memory that taught it, a line each for several
    similarity  cosine of the question with the nearest of the wordings
    hidden      further wordings, which a calibration leaves out
    known       id of the nearest of the wordings
    """

    wordings: tuple[str, ...]
    taught: str
    similarity: float
    hidden: tuple[str, ...] = ()
    known: str = ""


@dataclass(frozen=True)
class Evidence:
    """What speaks for an answer from the weights: `features` as in EVIDENCE, each in [0, 1].

    fact        that the question is nearest to
    challenger  the memory that may be fresher, if one may
    fresher     ids of all memories that may be
    in_meaning  what was told later and may be the fact's news, in none of its words
    """

    features: tuple[float, ...]
    fact: Fact
    challenger: Neighbour | None = None
    fresher: tuple[str, ...] = ()
    in_meaning: Neighbour | None = None


class Certainty(NamedTuple):
    """How sure the model was of its answer.

    confidence  probability of the likeliest token where it was lowest
    abstention  log-likelihood of its own abstention instead of the answer
    """

    confidence: float = 1.0
    abstention: float = -math.inf

    @property
    def features(self) -> tuple[float, float]:
        """As in CERTAINTY, each in [0, 1]."""
        abstention = max(self.abstention, _LEAST_ABSTENTION)
        return self.confidence, min(1.0, abstention / _LEAST_ABSTENTION)

    @property
    def abstains(self) -> bool:
        """Whether its abstention is what the model would rather have said."""
        return self.abstention >= _LIKELY


PERFECT = Certainty()


@dataclass(frozen=True)
class Words:
    """What a night knows of a memory's words.

    frequencies  how rare they are
    asked        how rare they are in questions
    ways         the ways of asking
    """

    frequencies: Frequencies = field(default_factory=Frequencies)
    asked: Frequencies = field(default_factory=Frequencies)
    ways: Ways = field(default_factory=Ways)


@dataclass(frozen=True)
class Gate:
    """What a night fitted: a score for the features, and the least score that may pass.

    weights      one a feature, none below 0
    threshold    None while too few examples bear the bound: then nothing passes
    words        of the memory that night
    abstention   what the model says when it does not know
    figures      for people: examples, bound, measured rate, share that passes
    """

    bias: float
    weights: Mapping[str, float]
    threshold: float | None
    words: Words = field(default_factory=Words)
    abstention: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def score(self, evidence: Sequence[float], certainty: Certainty = PERFECT) -> float:
        """The log-odds that the weights' answer is the right one to give."""
        values = zip(FEATURES, (*evidence, *certainty.features), strict=True)
        return self.bias + sum(self.weights.get(name, 0.0) * value for name, value in values)

    def cost(self, certainty: Certainty) -> float:
        """By how much the score falls because the model is no surer than this."""
        perfect = zip(CERTAINTY, PERFECT.features, certainty.features, strict=True)
        return sum(self.weights.get(name, 0.0) * (most - own) for name, most, own in perfect)

    def passes(self, evidence: Sequence[float], certainty: Certainty = PERFECT) -> bool:
        """Whether the weights may answer."""
        return self.threshold is not None and self.score(evidence, certainty) >= self.threshold

    def as_json(self) -> str:
        written = {
            "bias": self.bias,
            "weights": dict(self.weights),
            "threshold": self.threshold,
            "frequencies": self.words.frequencies.as_dict(),
            "asked": self.words.asked.as_dict(),
            "ways": self.words.ways.as_lists(),
            "abstention": self.abstention,
            "figures": dict(self.figures),
        }
        return json.dumps(written, ensure_ascii=False)

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def parse(written: str) -> Gate:
        """The inverse of `as_json`."""
        values = json.loads(written)
        frequencies = Frequencies.parse(values.pop("frequencies"))
        asked = Frequencies.parse(values.pop("asked"))
        words = Words(frequencies, asked, Ways.parse(values.pop("ways")))
        return Gate(words=words, **values)


class Choice(NamedTuple):
    """The view that answers, and why.

    similarity  cosine of the question with the nearest known one, or with what may be fresher
    evidence    features of the question, as in EVIDENCE; empty when nothing is known
    margin      by how much the score passes as long as the model is certain
    taught      the text of the memory that taught the weights their answer (a line each for
                several), when something fresher may be in the buffer
    fresher     ids of the memories in the buffer that may be
    known       id of the known question that the choice went by
    """

    view: View
    reason: str
    similarity: float
    evidence: tuple[float, ...] = ()
    margin: float = 0.0
    taught: str = ""
    fresher: tuple[str, ...] = ()
    known: str = ""


def choose(  # noqa: PLR0913 - what surrounds a question: all of them keywords
    question: str,
    gate: Gate | None,
    *,
    known: Sequence[Fact],
    buffered: Sequence[Neighbour],
    stale: Callable[[str], Collection[str]] = lambda taught: (),
    similarity: Callable[[str], float] = lambda text: 1.0,
    news: Callable[[str, Neighbour], bool] = lambda taught, one: False,
) -> Choice:
    """Choose the view that answers `question`.

    Args:
        question: what the user asks.
        gate: what the last night fitted, if one did.
        known: facts that lie near, nearest first.
        buffered: memories of the buffer that lie near.
        stale: ids of buffered memories that are older than all that taught an answer, given its
            text. They are no news, and are read only when they are nearer to the question than
            what taught the answer.
        similarity: of a memory's text to the question, as those in `buffered`.
        news: whether a memory, told after all that taught an answer, may correct it in meaning.
    """
    nearest = known[0].similarity if known else 0.0
    if not known:
        return Choice(View.RETRIEVAL, "no known question is near", nearest)
    if gate is None or gate.threshold is None:
        reason = "the gate has too few examples for its bound, so it stays shut"
        return Choice(View.RETRIEVAL, reason, nearest)
    evidence = weigh(
        question,
        known,
        buffered=buffered,
        words=gate.words,
        stale=stale,
        similarity=similarity,
        news=news,
    )
    choice = Choice(
        View.WEIGHTS,
        "near a question passed closed-book",
        evidence.fact.similarity,
        evidence.features,
        gate.score(evidence.features) - gate.threshold,
        known=evidence.fact.known,
    )
    if choice.margin >= 0 and evidence.in_meaning is None:
        return choice

    # Would it pass but for what is in the buffer? Then that and what it may correct are both read.
    challenger = evidence.challenger or evidence.in_meaning
    if challenger is not None and gate.passes(unchallenged(evidence.features)):
        return choice._replace(
            view=View.RETRIEVAL,
            reason="a memory in the buffer may be fresher",
            similarity=challenger.similarity,
            taught=evidence.fact.taught,
            fresher=evidence.fresher,
        )
    return choice._replace(view=View.RETRIEVAL, reason="no known question is near enough")


def unchallenged(features: Sequence[float]) -> tuple[float, ...]:
    """The evidence as it would be with nothing in the buffer."""
    return (*features[:-1], 1.0)


def weigh(  # noqa: PLR0913 - what surrounds a question: all of them keywords
    question: str,
    known: Sequence[Fact],
    *,
    buffered: Sequence[Neighbour],
    words: Words,
    stale: Callable[[str], Collection[str]] = lambda taught: (),
    similarity: Callable[[str], float] = lambda text: 1.0,
    news: Callable[[str, Neighbour], bool] = lambda taught, one: False,
) -> Evidence:
    """The evidence for an answer from the weights; `known` holds at least one fact.

    The arguments are those of `choose`.
    """
    asked, frequencies = terms(question), words.frequencies

    def fitting(one: Fact) -> float:
        return one.similarity + _BY_CORE * frequencies.share(core(one.wordings), asked)

    fact = max(known, key=fitting)
    others = [one.similarity for one in known if one is not fact]
    challenge, challenger, fresher = _challenge(
        asked,
        fact,
        buffered=buffered,
        words=words,
        stale=stale,
        similarity=similarity,
    )
    features = (
        _within(fact.similarity),
        _within(0.5 + fact.similarity - max(others, default=0.0)),
        *_explained(asked, fact, words),
        1.0 - challenge,
    )
    in_meaning = None
    for one in buffered:
        if _may_mean(asked, fact, one) and news(fact.taught, one):
            in_meaning = in_meaning or one
            fresher.append(one.id)
    return Evidence(features, fact, challenger, tuple(fresher), in_meaning)


def _may_mean(asked: Sequence[str], fact: Fact, one: Neighbour) -> bool:
    """Whether a memory has all that may be a name of the fact, and so may be about the same."""
    told, taught = terms(one.text), terms(fact.taught)
    for term in core(fact.wordings):
        is_name = term in asked and term in taught and commonness(term) < _MAY_BE_NAME
        if is_name and term not in told and not any(begin_alike(term, word) for word in told):
            return False
    return True


def _explained(asked: Sequence[str], fact: Fact, words: Words) -> tuple[float, ...]:
    """How much of the question the fact explains, and the other way round.

    The features from `asked_in_wordings` to `weakest`.
    """
    frequencies, distinct = words.frequencies, tuple(dict.fromkeys(asked))
    about = core(fact.wordings)
    in_wordings = {term for wording in fact.wordings for term in terms(wording)}
    vocabulary = in_wordings | set(terms(fact.taught))
    likest = max(fact.wordings, key=lambda wording: _overlap(distinct, terms(wording)))

    # What is not explained may be how the same is asked of others. What is said with many other
    # questions, such as "please", changes nothing.
    unexplained = [term for term in distinct if term not in vocabulary]
    frames = words.ways.frames(fact.wordings, hidden=fact.hidden) if unexplained else set()
    familiar = {term for frame in frames for term in frame}
    strange = [term for term in unexplained if term not in familiar]
    strangest = 0.0
    for term in strange:
        elsewhere = words.ways.elsewhere(term, fact.wordings, hidden=fact.hidden)
        strangest = max(strangest, 1 / (1 + elsewhere))
    known_ways = [*frames, *(terms(wording) for wording in fact.wordings)]

    core_asked = frequencies.share(about, distinct) if about else 0.0
    nothing_strange = 1.0 - strangest
    nothing_added = 1.0 - strangest * max(_covered(way, distinct) for way in known_ways)
    numbers_known = float(not any(sign.isdigit() for term in unexplained for sign in term))
    in_order = 1.0 - _displaced(asked, terms(likest), about=about, words=frequencies)
    return (
        frequencies.share(distinct, in_wordings),
        frequencies.share(distinct, vocabulary),
        core_asked,
        frequencies.share(terms(likest), distinct),
        1.0 - max(map(frequencies.rarity, unexplained), default=0.0),
        nothing_strange,
        nothing_added,
        numbers_known,
        in_order,
        min(nothing_strange, nothing_added, numbers_known, in_order, core_asked),
    )


def linking(taught: str, frequencies: Frequencies) -> set[str]:
    """The rare terms that all of several memories share which together taught an answer.

    Who is in the middle of a chain stands in no question.
    """
    lines = taught.split("\n")
    if len(lines) < 2:
        return set()
    shared = set.intersection(*(set(terms(line)) for line in lines))
    rarest = max(map(frequencies.rarity, shared), default=0.0)
    return {term for term in shared if frequencies.rarity(term) >= rarest / 2}


def _challenge(
    asked: Sequence[str],
    fact: Fact,
    *,
    buffered: Sequence[Neighbour],
    words: Words,
    stale: Callable[[str], Collection[str]],
    similarity: Callable[[str], float],
) -> tuple[float, Neighbour | None, list[str]]:
    """How much the buffer speaks against the weights, by what most, and ids of all that does."""
    about = [term for term in core(fact.wordings) if term in asked]
    about = [term for term in about if term in terms(fact.taught)] or about or list(asked)
    # What all have that is asked alike is no sign of the same: whom it is about is.
    weights = {}
    for term in about:
        particular = words.ways.particular(term, fact.wordings)
        weights[term] = words.frequencies.rarity(term) * particular
    links = linking(fact.taught, words.frequencies)
    worst, challenger, fresher = 0.0, None, []
    own, older = 0.0, None
    for news in buffered:
        told = set(terms(news.text))
        leads_on = bool(links & told)
        declined = {term for term in weights if any(begin_alike(term, word) for word in told)}
        share = 1.0 if leads_on else _share(weights, told | declined)
        if share <= _ABOUT:
            continue
        if older is None:
            own, older = similarity(fact.taught), stale(fact.taught)
        if news.id in older and (leads_on or news.similarity < own):
            continue
        fresher.append(news.id)
        # As near to the question as what taught the answer, it is about the same.
        nearness = 1.0 if leads_on else _within(news.similarity / max(own, 0.05))
        if share * nearness > worst:
            worst, challenger = share * nearness, news
    return worst, challenger, fresher


def _share(weights: Mapping[str, float], within: Collection[str]) -> float:
    """Which share of the weight stands there, too; 1.0 without any weight."""
    whole = sum(weights.values())
    if whole <= 0:
        return 1.0
    return sum(weight for term, weight in weights.items() if term in within) / whole


def _overlap(some: Collection[str], others: Collection[str]) -> float:
    """Share of the terms of both that are the same (Jaccard)."""
    one, other = set(some), set(others)
    return len(one & other) / max(len(one | other), 1)


def _covered(some: Sequence[str], others: Collection[str]) -> float:
    """How nearly all of some terms are among others; steep, so that most is not all."""
    return (sum(term in others for term in some) / max(len(some), 1)) ** 4


def _displaced(
    asked: Sequence[str], wording: Sequence[str], *, about: Collection[str], words: Frequencies
) -> float:
    """How much a question is the same terms in another order: whom it is about stands elsewhere.

    0 for other terms, or where what it is about has the same terms beside it.
    """
    shared = [term for term in about if term in asked and term in wording]
    rarest = max(map(words.rarity, shared), default=0.0)
    most = 0.0
    for term in shared:
        pairs = zip(_beside(asked, term), _beside(wording, term), strict=True)
        moved = sum(own != known for own, known in pairs) / 2
        most = max(most, moved * words.rarity(term) / (rarest or 1.0))
    return _overlap(asked, wording) ** 3 * most


def _beside(some: Sequence[str], term: str) -> tuple[str, str]:
    """The terms before and after this one."""
    place = some.index(term)
    before = some[place - 1] if place else ""
    after = some[place + 1] if place + 1 < len(some) else ""
    return before, after


def _within(value: float) -> float:
    return min(1.0, max(0.0, value))


def facts_near(
    known: Sequence[Neighbour], groups: Mapping[str, tuple[str, tuple[str, ...]]]
) -> list[Fact]:
    """The facts that known questions belong to, nearest first.

    Args:
        known: known questions that lie near, nearest first.
        groups: per id of a known question, a key of its fact and all wordings of that.
    """
    facts: dict[str, Fact] = {}
    for near in known:
        key, wordings = groups.get(near.id, (near.taught_by, (near.text,)))
        if key not in facts:
            facts[key] = Fact(wordings, near.taught_by, near.similarity, known=near.id)
    return list(facts.values())
