"""Let the gate choose how a question is answered, and fetch what it needs.

Every decision is logged with its reason: the retrieval-load curve is drawn from that log.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np

from sleepmem.day.gate import NEIGHBOURS, Choice, Gate, choose, facts_near
from sleepmem.day.ranking import MAY_BE_NEWS, WITHIN, Need, is_needed, may_be_news, within
from sleepmem.day.safely import safely
from sleepmem.day.search import Found, search, similarities_of, stored
from sleepmem.day.state import DayContext
from sleepmem.errors import FolderError
from sleepmem.records import Episode, Look, Namespace, Neighbour, Recall, View
from sleepmem.stores.database import hurried
from sleepmem.stores.episodes import in_thread
from sleepmem.stores.rows import intact, unreadable
from sleepmem.text.heads import SURELY_ASKS, needs_no_memory
from sleepmem.text.pieces import LONGEST, pieces
from sleepmem.text.policy import refused
from sleepmem.text.prompts import ABSTENTION, line_of, memory_prompt
from sleepmem.text.rarity import commonness
from sleepmem.text.similarity import cosine
from sleepmem.text.terms import terms

_NO_LIMIT = 1 << 30
# What is meant by a description is at least so near, of the nearest; and at all.
_AS_NEAR, _AT_ALL = 0.6, 0.15
_BY_WORDS = Choice(View.RETRIEVAL, "the embeddings failed; searched by words alone", 0.0)
# What follows within this time in the same conversation goes on with what was said.
_GOES_ON = timedelta(hours=1)
# As many of the best bring along what was told beside them.
_CONTINUED = 2
# As many more, after the best, that go on without a name: "She has two kids." "They are three."
_FURTHER = 1
# Tokens of memories, as ours counts them, for a model of which nobody knows how many it takes.
_OF_OTHERS = 6_000
# Characters of the beginning and of the end of a long turn that are searched for.
_BRIEF = 120
# Terms of a text that may be another wording of one; longer ones tell more than they share.
_ONE_SENTENCE = 20
# A word that so large a share of texts has tells two of them not apart.
_EVERYDAY = 0.01
# A word that a smaller share of texts has may be a name.
_NO_NAME = 1e-8


class Asked(NamedTuple):
    """What a user says, the day where the user is, and what the model has before it anyway.

    `seen` are the terms of each of these texts, `message_id` is of the message that asks,
    `speaker` who of several people asks.
    """

    text: str
    today: date
    seen: frozenset[tuple[str, ...]] = frozenset()
    message_id: str | None = None
    speaker: str | None = None

    @property
    def brief(self) -> str:
        """The text, or its beginning and its end: a question stands before or after a paste."""
        if len(self.text) <= LONGEST:
            return self.text
        return f"{self.text[:_BRIEF]}\n{self.text[-_BRIEF:]}"

    def may_mean(self, told_by: str | None) -> bool:
        """Whether "I" may be the one who told it: of either nobody is known, or they are one."""
        own, other = self.speaker, told_by
        return not own or not other or own.casefold() == other.casefold()

    def has(self, episode: Episode) -> bool:
        """Whether the model has an episode before it anyway."""
        # Ids may begin anew in every conversation.
        ids = (self.message_id, in_thread(self.message_id or "", episode.thread))
        is_itself = self.message_id is not None and episode.message_id in ids
        is_itself = is_itself and set(terms(episode.text)) <= set(terms(self.text))
        return is_itself or terms(episode.text) in self.seen


@hurried()
def recall(
    day: DayContext,
    namespace: Namespace,
    *,
    asked: Asked,
    holds_experts: bool = True,
    log: bool = True,
) -> Recall:
    """The gate's decision for a question, and the memories that it needs, if any.

    It writes what it can; where the ledger cannot be written, it reads.

    Args:
        day: the open folder.
        namespace: whose memory.
        asked: what the user says.
        holds_experts: whether the model that answers is the memory's own. Any other holds none of
            the experts: what the weights would have answered, it reads.
        log: keep the decision.

    Raises:
        FolderError: the index was made with other embeddings.
    """
    vector = _vector(day, namespace, asked)
    choice = Choice(View.RETRIEVAL, "the model holds no experts of this memory", 0.0)
    if vector is None:
        choice = _BY_WORDS
    elif holds_experts:
        choice = _choose(day, namespace, asked, vector)
    if choice.view is View.WEIGHTS:
        found = Recall(
            choice.view,
            choice.reason,
            similarity=choice.similarity,
            margin=choice.margin,
            known=choice.known,
        )
    else:
        room = day.most_tokens if holds_experts else _OF_OTHERS
        found = _fetch(day, namespace, asked, choice, vector, room=room)
    if log:
        log_recall(day, namespace, question=asked.text, recalled=found)
    return found


@hurried()
def look_again(day: DayContext, namespace: Namespace, *, asked: Asked, log: bool = True) -> Recall:
    """Search everything that holds, after an answer from the weights that did not do."""
    vector = _vector(day, namespace, asked)
    choice = Choice(View.RETRIEVAL, "the model was not sure; searched everything", 0.0)
    if vector is None:
        choice = _BY_WORDS
    found = _fetch(day, namespace, asked, choice, vector, room=day.most_tokens)
    again = replace(found, reason=choice.reason, look=Look.AGAIN)
    if log:
        log_recall(day, namespace, question=asked.text, recalled=again)
    return again


def about(day: DayContext, namespace: Namespace, *, asked: Asked) -> list[Episode]:
    """What is about as near to a text as the nearest, of everything that was ever stored.

    Whether anybody needs it or not, what is outdated or over included.

    Raises:
        FolderError: the embeddings fail, or the index was made with other ones.
    """
    vector = _vector(day, namespace, asked)
    found = [] if vector is None else stored(day, namespace, vector=vector)
    if vector is None or (not found and day.folder.ledger.episodes.ids(namespace)):
        raise FolderError(
            "the embeddings fail, so nobody can tell what is meant by `about`; nothing was "
            "forgotten. Try again once they work, or choose by ids or a date."
        )
    nearest = max((cosine for _, cosine in found), default=0.0)
    return [episode for episode, cosine in found if cosine >= max(_AS_NEAR * nearest, _AT_ALL)]


def context_message(
    recalled: Recall, system: str = "", *, today: date | None = None, speaker: str | None = None
) -> str:
    """The system message that carries what was recalled, after the agent's own `system`.

    Just `system` when nothing was. `today` and `speaker` tell the model the date and who speaks.
    What the user did not say stands apart, with its source.
    """
    if not recalled.episodes:
        return system
    own: list[str] = []
    others: list[str] = []
    for episode in recalled.oldest_first:
        line = line_of(episode, recalled.excerpts.get(episode.id))
        (own if episode.trusted else others).append(line)
    return memory_prompt(own, system, others=others, today=today, speaker=speaker)


def log_recall(day: DayContext, namespace: Namespace, *, question: str, recalled: Recall) -> None:
    """Keep the decision, and the memory tokens that it puts into the prompt.

    A log that cannot be written costs no memory; a folder that is only read has none. A question
    that a rule refuses is not kept.
    """
    if day.folder.read_only or refused(question, day.config.policy):
        return
    tokens = day.count_tokens(context_message(recalled)) if recalled.episodes else 0

    def write() -> None:
        day.folder.ledger.turns.log(namespace, question, recall=recalled, tokens=tokens)

    safely(day, "logging a decision", call=write, otherwise=None, namespace=namespace)


def calibrated(day: DayContext, namespace: Namespace) -> Gate | None:
    """The gate that the newest live night fitted; None before the first.

    Raises:
        LedgerError: it cannot be read.
    """
    written = day.folder.ledger.gates.read(namespace)
    with intact(f"the gate of {namespace}"):
        return Gate.parse(written) if written else None


def faults(day: DayContext) -> list[str]:
    """Gates that cannot be read."""
    owners = day.folder.ledger.gates.owners()
    return unreadable(owners, lambda owner: calibrated(day, owner))


def abstention(day: DayContext, namespace: Namespace) -> str:
    """What the model says when it does not know, as its exams heard it."""
    gate = calibrated(day, namespace)
    return (gate and gate.abstention) or ABSTENTION


def _vector(day: DayContext, namespace: Namespace, asked: Asked) -> np.ndarray | None:
    """Of the question, once what was stored before is embedded; None while the embeddings fail.

    What can be neither embedded nor written now is found by its words.
    """
    if not day.folder.check_embeddings(namespace):
        return None

    def catch_up() -> None:
        day.folder.catch_up(namespace)

    def embed() -> np.ndarray:
        return day.folder.buffer.embed_question(asked.brief)

    safely(day, "embedding what was stored", call=catch_up, otherwise=None, namespace=namespace)
    return safely(day, "embedding a question", call=embed, otherwise=None, namespace=namespace)


def _choose(day: DayContext, namespace: Namespace, asked: Asked, vector: np.ndarray) -> Choice:
    """What the gate says."""
    ledger, buffer = day.folder.ledger, day.folder.buffer
    near_known = buffer.near_known(namespace, vector, count=NEIGHBOURS)
    if not near_known:
        return Choice(View.RETRIEVAL, "the weights hold nothing yet", 0.0)
    # "My voice" is another for whoever asks: what somebody else told the weights is read.
    told_by = ledger.gates.speakers(near.id for near in near_known)
    known = [near for near in near_known if asked.may_mean(told_by.get(near.id))]

    # What was only forgotten must not crowd out what is new, and a question is no news.
    forgotten = ledger.episodes.forgotten(namespace)
    near = buffer.near(namespace, vector, count=NEIGHBOURS + len(forgotten))
    near += _unembedded(day, namespace, vector)
    told = {one.id: one for one in ledger.episodes.get(namespace, (one.id for one in near))}
    texts = {one.id: one.whole for one in told.values() if not asked.has(one)}

    def similarity(text: str) -> float:
        (own,) = day.folder.buffer.embedded([text])
        return cosine(vector, own)

    # Of what the weights hold in part, the rest alone is news.
    rest = ledger.notes.rest(namespace, texts)
    buffered = []
    for one in near:
        if one.id in rest:
            part = rest[one.id]
            buffered.append(Neighbour(one.id, part, similarity(part), part))
        elif one.id in texts:
            buffered.append(one._replace(text=texts[one.id], taught_by=texts[one.id]))

    def stale(taught: str) -> set[str]:
        first = _told(ledger.episodes.learned(namespace), taught)
        return {one.id for one in told.values() if one.created_at < first}

    def news(taught: str, one: Neighbour) -> bool:
        is_near = may_be_news(day.folder.relatedness, one.similarity)
        learned = ledger.episodes.learned(namespace) if is_near else []
        return is_near and told[one.id].created_at > _told(learned, taught, last=True)

    return choose(
        asked.brief,
        calibrated(day, namespace),
        known=facts_near(known, ledger.gates.facts(near.id for near in known)),
        buffered=buffered,
        stale=stale,
        similarity=similarity,
        news=news,
    )


def _unembedded(day: DayContext, namespace: Namespace, vector: np.ndarray) -> list[Neighbour]:
    """What was stored and has no vector yet, where this process may write none."""
    episodes = day.folder.ledger.episodes
    pending = episodes.unembedded(namespace)
    if not pending:
        return []
    asking = episodes.asking(one.id for one in pending)
    held = {one.id for one in episodes.learned(namespace)}
    waiting = []
    for one in pending:
        if one.id not in held and asking.get(one.id, 0.0) < SURELY_ASKS:
            waiting.append(one)
    similarities = similarities_of(day, waiting, vector=vector)
    found = []
    for one in waiting:
        found.append(Neighbour(one.id, one.whole, similarities[one.id], one.whole))
    return found


def _fetch(
    day: DayContext,
    namespace: Namespace,
    asked: Asked,
    choice: Choice,
    vector: np.ndarray | None,
    *,
    room: int,
) -> Recall:
    """What the question needs, of everything that holds; with what taught the weights.

    As far as it fits into so many tokens; 0 is no limit.
    """
    found = search(day, namespace, question=asked.brief, vector=vector, today=asked.today)
    needed = _needed(day, asked, [one for one in found if not asked.has(one.episode)])
    # The weights would have answered but for these: that and these are all that is in question.
    needed = [one for one in needed if one.episode.id in choice.fresher] or needed
    chosen = [
        *_taught(day, namespace, choice.taught),
        *_in_their_talk(day, needed, asked, vector),
    ]
    unique = {episode.id: episode for episode in chosen}
    excerpts = {one.episode.id: one.text for one in needed if one.text != one.episode.whole}
    for episode in unique.values():
        if episode.id not in excerpts and len(line_of(episode)) > LONGEST:
            excerpts[episode.id] = _nearest_piece(day, episode, vector)
    episodes = _fitting(day, unique.values(), excerpts, room=room or _NO_LIMIT)
    if unique and not episodes:
        episodes = (next(iter(unique.values())),)
        excerpts = {episodes[0].id: _cut(day, episodes[0], excerpts, room=room)}
    if episodes:
        return Recall(View.RETRIEVAL, choice.reason, episodes, choice.similarity, excerpts=excerpts)
    reason = f"{choice.reason}; nothing that was stored is about it"
    return Recall(View.BASE, reason, (), choice.similarity)


def _is_needed(day: DayContext, question: str, found: Sequence[Found]) -> bool:
    """Whether the turn needs any of what was found."""
    if not found:
        return False
    relatedness = day.folder.relatedness
    return is_needed(
        Need.of(
            [one.features for one in found],
            general=needs_no_memory(question),
            unrelated=relatedness.evidence(relatedness.unrelated),
        )
    )


def _needed(day: DayContext, asked: Asked, found: Sequence[Found]) -> list[Found]:
    """Those that the question needs: what the user said before what others did.

    Others take half of the places at most from what the user said.
    """
    is_any_needed = _is_needed(day, asked.brief, found)
    chosen: dict[bool, list[Found]] = {True: [], False: []}
    for trusted in chosen:
        equals = [one for one in found if one.episode.trusted is trusted]
        # What tools repeat is rare no more: near the best of them does, too.
        is_near = is_any_needed and bool(equals) and equals[0].score >= found[0].score - WITHIN
        if is_near or _is_needed(day, asked.brief, equals):
            chosen[trusted] = _among_equals(day, equals)
    own, others = chosen[True], chosen[False]
    most = day.gate.memories_per_question
    others = others[: max(most - len(own), most // 2)]
    return [*own[: most - len(others)], *others]


def _among_equals(day: DayContext, found: Sequence[Found]) -> list[Found]:
    """Those that the question needs, of what may be believed alike; never none of some.

    Equal words take one place, the newest or that of the day asked for; another wording of what is
    chosen comes after the rest.
    """
    # What means the same as the turn may be the turn, said before: it answers nothing.
    alike = day.folder.relatedness.alike
    best = next((one for one in found if one.cosine < alike), found[0])
    near = []
    for one in found:
        # What was told later and may be about the same may be its news, in other words.
        is_later = one.episode.age_key > best.episode.age_key
        is_news = is_later and one.features.meaning >= MAY_BE_NEWS
        if is_news or one.score >= best.score - within(best.features):
            near.append(one)
    newest: dict[frozenset[str], Found] = {}
    for one in near:
        key = _telling(one.episode.text)
        newest[key] = max(newest.get(key, one), one, key=_claim)
    chosen = list(newest.values())
    most = day.gate.memories_per_question
    return chosen if len(chosen) <= most else _varied(day, chosen, most)


def _claim(found: Found) -> tuple[float, tuple[str, int, str]]:
    """The greater, the rather it takes the place of what says the same."""
    return found.features.dated, found.episode.age_key


@functools.lru_cache(maxsize=20_000)
def _telling(text: str) -> frozenset[str]:
    """The words of a text that are no everyday ones: in two with the same, little else differs."""
    words = frozenset(terms(text))
    telling = (word for word in words if commonness(word) < _EVERYDAY or not word.isalpha())
    return frozenset(telling) or words


def _varied(day: DayContext, found: Sequence[Found], most: int) -> list[Found]:
    """The first so many, but what means the same as a better one comes after all others."""
    indexed = day.folder.buffer.vectors(found[0].episode.namespace, [one.episode for one in found])
    chosen: list[Found] = []
    vectors: list[np.ndarray] = []
    copies: list[Found] = []
    for one in found:
        if len(chosen) == most:
            break
        vector = indexed.get(one.text)
        if vector is not None and len(terms(one.text)) <= _ONE_SENTENCE:
            vector = vector / (np.linalg.norm(vector) or 1.0)
            if any(vector @ other >= day.folder.relatedness.alike for other in vectors):
                copies.append(one)
                continue
            vectors.append(vector)
        chosen.append(one)
    return [*chosen, *copies][:most]


def _in_their_talk(
    day: DayContext, needed: Sequence[Found], asked: Asked, vector: np.ndarray | None
) -> list[Episode]:
    """The best with what was told right before and after them: "She" keeps its name and its news.

    What went before must have of the question what the memory itself has not; what follows must
    have no name of its own, or be no farther from either than unrelated texts are on average.
    """
    chosen: list[Episode] = [found.episode for found in needed]
    for place, found in enumerate(needed):
        episode = found.episode
        # What a tool returned before is no part of what it returned after.
        has_talk = place < _CONTINUED and episode.trusted
        neighbours = day.folder.ledger.episodes.beside(episode) if has_talk else []
        for other in neighbours:
            apart = abs(datetime.fromisoformat(other.created_at) - _told_at(episode))
            if apart > _GOES_ON or asked.has(other):
                continue
            if other.age_key < episode.age_key:
                lacking = _telling(asked.brief) - set(terms(episode.whole))
                belongs = bool(lacking & set(terms(other.whole)))
            else:
                belongs = _goes_on(day, episode, other, vector=vector)
            if belongs:
                chosen.append(other)
            if belongs and not place and other.age_key > episode.age_key:
                chosen += _further(day, other, asked)
    return chosen


def _further(day: DayContext, episode: Episode, asked: Asked) -> list[Episode]:
    """What goes on after it, as long as nothing of it has a name of its own."""
    followers: list[Episode] = []
    last = episode
    while not _has_name(last) and len(followers) < _FURTHER:
        beside = day.folder.ledger.episodes.beside(last)
        follower = max(beside, key=lambda one: one.age_key, default=last)
        is_later = timedelta(0) < _told_at(follower) - _told_at(last) <= _GOES_ON
        if not is_later or _has_name(follower) or asked.has(follower):
            break
        followers.append(follower)
        last = follower
    return followers


def _told_at(episode: Episode) -> datetime:
    return datetime.fromisoformat(episode.created_at)


def _goes_on(
    day: DayContext, episode: Episode, follower: Episode, *, vector: np.ndarray | None
) -> bool:
    """Whether what was told next may be about the same."""
    if not _has_name(follower):
        return True
    vectors = day.folder.buffer.vectors(episode.namespace, [episode, follower])
    own, other = (vectors.get(pieces(one.whole)[0]) for one in (episode, follower))
    if other is None:
        return False
    least = day.folder.relatedness.unrelated
    return any(cosine(one, other) >= least for one in (vector, own) if one is not None)


def _has_name(episode: Episode) -> bool:
    return any(commonness(word) < _NO_NAME for word in terms(episode.text))


def _taught(day: DayContext, namespace: Namespace, taught: str) -> list[Episode]:
    """The episodes behind what the weights would have answered."""
    if not taught:
        return []
    learned = day.folder.ledger.episodes.learned(namespace)
    return [episode for episode in learned if episode.text in taught]


def _fitting(
    day: DayContext, episodes: Collection[Episode], excerpts: Mapping[str, str], *, room: int
) -> tuple[Episode, ...]:
    """As many, in this order, as fit so many tokens."""
    # A token is a byte at least.
    lines = [line_of(episode, excerpts.get(episode.id)) for episode in episodes]
    if sum(len(line.encode()) for line in lines) <= room:
        return tuple(episodes)
    fitting = []
    for episode, line in zip(episodes, lines, strict=True):
        tokens = day.count_tokens(line)
        # A shorter one may fit behind one that does not.
        if tokens <= room:
            room -= tokens
            fitting.append(episode)
    return tuple(fitting)


def _cut(day: DayContext, episode: Episode, excerpts: Mapping[str, str], *, room: int) -> str:
    """The beginning of an episode, or of its excerpt, that fits so many tokens."""
    text = excerpts.get(episode.id, episode.text)
    while len(text) > 1 and day.count_tokens(line_of(episode, f"{text}…")) > room:
        text = text[: len(text) // 2]
    return f"{text}…"


def _nearest_piece(day: DayContext, episode: Episode, vector: np.ndarray | None) -> str:
    """The piece of a long episode that is nearest to the question; the first of unknown ones."""
    found = pieces(episode.whole)
    if vector is None or len(found) == 1:
        return found[0]
    vectors = day.folder.buffer.vectors(episode.namespace, [episode])
    return max(found, key=lambda text: cosine(vector, vectors[text]) if text in vectors else -1.0)


def _told(learned: Iterable[Episode], taught: str, *, last: bool = False) -> str:
    """When the oldest of the episodes was told whose text stands in `taught`, or the newest."""
    times = [episode.created_at for episode in learned if episode.text in taught]
    return (max if last else min)(times, default="")
