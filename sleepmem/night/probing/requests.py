"""Requests that need a memory: what users ask for without asking about it, done by the teacher.

Facts are mostly used this way: an invitation needs the address that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Sequence

from sleepmem.night.probing.pairs import Pair
from sleepmem.night.probing.teacher import Teacher
from sleepmem.records import Episode
from sleepmem.text.kinds import abstains
from sleepmem.text.prompts import REQUEST, closed_book, line_of, open_book
from sleepmem.text.rarity import commonness
from sleepmem.text.terms import terms

_SALT = 32
# Share of texts that have a word which a reply may have by chance.
_COMMON = 1e-3


def write_requests(teacher: Teacher, episodes: Sequence[Episode]) -> list[Pair]:
    """Requests with the teacher's replies, as far as these have of the memory what they need.

    That is a term which neither the request tells nor the teacher says who does not read it.
    """
    models = [episode for episode in episodes for _ in range(teacher.config.requests)]
    texts = teacher.write(
        REQUEST,
        [line_of(episode) for episode in models],
        tokens=teacher.config.text_tokens,
        salt=_SALT,
    )
    written = {}
    for episode, text in zip(models, texts, strict=True):
        request = " ".join(text.split())
        if request:
            written[episode.id, request] = episode
    told = [open_book(request, [line_of(one)]) for (_, request), one in written.items()]
    untold = [closed_book(request) for _, request in written]
    tokens = teacher.config.text_tokens
    replies = teacher.reply([*told, *untold], tokens=tokens)
    pairs = []
    for place, ((unit, request), episode) in enumerate(written.items()):
        reply, without = replies[place], replies[place + len(written)]
        needed = set(terms(episode.text)) - set(terms(request)) - set(terms(without))
        held = needed & set(terms(reply))
        if not abstains(reply) and any(commonness(term) < _COMMON for term in held):
            pairs.append(Pair(unit, request, reply))
    return pairs
