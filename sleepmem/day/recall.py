"""Let the gate choose how a question is answered, and fetch what it needs.

Every decision is logged with its reason: the retrieval-load curve is drawn from that log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sleepmem.day.gate import Choice, choose, leads_on, naming
from sleepmem.day.state import DayContext
from sleepmem.records import Episode, Look, Namespace, Neighbour, Recall, View
from sleepmem.text.prompts import memory_line, memory_prompt
from sleepmem.text.similarity import cosine

# Tokens that the date of a memory takes in the prompt.
_DATE_TOKENS = 8
_NO_LIMIT = 1 << 30


def recall(day: DayContext, namespace: Namespace, *, question: str, log: bool = True) -> Recall:
    """The gate's decision for a question, and the memories that it needs, if any."""
    ledger, buffer = day.folder.ledger, day.folder.buffer
    day.folder.catch_up()
    vector = day.embeddings.embed_query(question)
    count = day.gate.memories_per_question * day.gate.neighbours

    # What was only forgotten must not crowd out what is new.
    forgotten = ledger.episodes.forgotten(namespace)
    buffered = buffer.near(namespace, vector, count=count + len(forgotten))
    known = buffer.near_known(namespace, vector, count=count)

    def similarity(text: str) -> float:
        return cosine(vector, day.embed([text])[0])

    def stale(taught: str) -> set[str]:
        first = _first_told(ledger.episodes.learned(namespace), taught) if forgotten else ""
        return {episode_id for episode_id, told_at in forgotten.items() if told_at < first}

    choice = choose(
        question,
        known,
        buffered=buffered,
        config=day.gate,
        stale=stale,
        similarity=similarity,
    )
    found = Recall(choice.view, choice.reason, (), choice.similarity)
    if choice.view is View.RETRIEVAL:
        found = _fetch(day, namespace, question, choice, buffered)
    if log:
        log_recall(day, namespace, question=question, recalled=found)
    return found


def search_archive(
    day: DayContext, namespace: Namespace, *, question: str, log: bool = True
) -> Recall:
    """Search everything ever stored, learned or not, after an answer that did not do."""
    reason = "the model was not sure; searched the archive"
    found = Recall(View.RETRIEVAL, reason, _archived(day, namespace, question), look=Look.AGAIN)
    if log:
        log_recall(day, namespace, question=question, recalled=found)
    return found


def context_message(recalled: Recall, system: str = "") -> str:
    """The system message that carries what was recalled, after the agent's own `system`.

    Just `system` when nothing was.
    """
    if not recalled.episodes:
        return system
    lines = [memory_line(episode.date, episode.text) for episode in recalled.oldest_first]
    return memory_prompt(lines, system)


def log_recall(day: DayContext, namespace: Namespace, *, question: str, recalled: Recall) -> None:
    """Keep the decision, and the memory tokens that it puts into the prompt."""
    tokens = day.count_tokens(context_message(recalled)) if recalled.episodes else 0
    day.folder.ledger.turns.log(namespace, question, recall=recalled, tokens=tokens)


def _fetch(
    day: DayContext,
    namespace: Namespace,
    question: str,
    choice: Choice,
    buffered: Sequence[Neighbour],
) -> Recall:
    """Memories of the buffer, with those that taught the weights; else the archive's."""
    ledger = day.folder.ledger
    still_buffered = {episode.id: episode for episode in ledger.episodes.buffered(namespace)}
    near_ones = []
    for neighbour in buffered:
        is_near = neighbour.similarity >= day.gate.near or leads_on(choice.taught, neighbour.text)
        if neighbour.id in still_buffered and is_near:
            near_ones.append(neighbour)

    # Of those about equally near, the newest: it wins.
    near_ones.sort(
        key=lambda near: (round(near.similarity, 1), still_buffered[near.id].created_at),
        reverse=True,
    )
    leading_on = [near for near in near_ones if leads_on(choice.taught, near.text)]
    chosen = leading_on or naming(question, near_ones, text=lambda near: near.text)
    memories = []
    for episode in ledger.episodes.learned(namespace):
        if choice.taught and episode.text in choice.taught:
            memories.append(episode)
    for neighbour in chosen[: day.gate.memories_per_question]:
        memories.append(still_buffered[neighbour.id])
    episodes = _fitting(day, memories)
    if episodes:
        return Recall(View.RETRIEVAL, choice.reason, episodes, choice.similarity)

    episodes = _archived(day, namespace, question)
    reason = f"{choice.reason}, nor is the buffer about it; searched the archive"
    view = View.RETRIEVAL if episodes else View.BASE
    return Recall(view, reason, episodes, choice.similarity, Look.ARCHIVE)


def _archived(day: DayContext, namespace: Namespace, question: str) -> tuple[Episode, ...]:
    """What full-text search finds that names what the question names."""
    most = day.gate.memories_per_question
    ledger = day.folder.ledger
    found = ledger.episodes.search(namespace, question, limit=most * day.gate.neighbours)
    # It ranks by words alone, so twice as many are read.
    return _fitting(day, naming(question, found, text=lambda episode: episode.text)[: 2 * most])


def _fitting(day: DayContext, episodes: Iterable[Episode]) -> tuple[Episode, ...]:
    """As many, in this order, as fit half of the model's context."""
    room = day.most_tokens or _NO_LIMIT
    fitting = []
    for episode in episodes:
        room -= day.count_tokens(episode.text) + _DATE_TOKENS
        if room >= 0:
            fitting.append(episode)
    return tuple(fitting)


def _first_told(learned: Iterable[Episode], taught: str) -> str:
    """When the oldest of the episodes was told whose text stands in `taught`."""
    return min((episode.created_at for episode in learned if episode.text in taught), default="")
