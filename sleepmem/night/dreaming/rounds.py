"""The rounds of dreaming (arXiv 2606.03979, section 3.4).

Dreams are synthetic questions about what was said, kept only when they measurably help. A round:
sample dreams about one or two memories with one random further expert on; drop what the guard
refuses; keep the ones with the largest gradient and a few at random; try each on an isolated copy
of tonight's expert. The rewarded ones teach that expert, which dreams the next round (ReST-EM).
Values in, values out: touches no store.

Departs from the paper: a dream is a question with its answer, tried by some steps of plain
fine-tuning of the expert.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from sleepmem.config import DreamConfig
from sleepmem.night.dreaming.dream import Context, Dream, Dreamer, Fate, Link, Material, Pair
from sleepmem.night.dreaming.guard import Ground, guard, leads
from sleepmem.night.dreaming.trial import importance, trial
from sleepmem.records import Episode
from sleepmem.text.prompts import DREAM, open_book
from sleepmem.text.subjects import rare

# Memories, at most, that each of tonight's is paired with by chance.
_UNRELATED = 8

Item = TypeVar("Item")


def dream(
    dreamer: Dreamer,
    material: Material,
    *,
    learn: Callable[[list[Dream]], None],
    config: DreamConfig,
    seed: int,
) -> list[Dream]:
    """Dream for some rounds, each with the dreamer that the one before has taught.

    It ends by itself when no dream is rewarded.

    Args:
        dreamer: tonight's expert, which dreams and learns. One of those beside it, at random, leaks
            into each context's dreams.
        material: what may be dreamt about. Tonight's facts are examined in the trials, beside other
            dreams about the same.
        learn: teaches the dreamer the rewarded dreams of all rounds so far.
        config: how many, how strict.
        seed: of every choice.

    Returns:
        Every dream, with its fate.
    """
    dreams: list[Dream] = []
    for index in range(config.rounds):
        # What was idle may be dreamt again.
        asked = set(material.questions)
        for dream in dreams:
            if dream.fate is not Fate.IDLE:
                asked.add(dream.question)
        fresh = _round(dreamer, material, asked=asked, config=config, seed=seed + index)
        for dream in fresh:
            dreams.append(replace(dream, round=index + 1))

        # Those of earlier rounds teach again, so that the new ones do not displace them.
        if not _rewarded(fresh):
            break
        learn(_rewarded(dreams))
    return dreams


def _round(
    dreamer: Dreamer, material: Material, *, asked: set[str], config: DreamConfig, seed: int
) -> list[Dream]:
    """The dreams of one round; `asked` are the questions that may not come again."""
    rng = random.Random(seed)
    links, pairs = leads(material.facts), _tonights_pairs(material)

    # 1. What is dreamt, with the dreamer as it is by now?
    about = contexts(material, links=links, config=config, seed=seed)
    sampled = sample(dreamer, about, config=config, seed=seed)

    # 2. What of it is sound?
    strangers = _some(material.strangers, config.strangers, rng)
    ground = Ground(asked, material.memory_lines, links, strangers)
    sound, refused = guard(dreamer.local, sampled, ground=ground, config=config)

    # 3. What is worth a trial? What is held out for the exam teaches nothing.
    held_out, sound = hold_out(sound, rng)
    weighed = importance(dreamer, sound, at_once=config.copies)
    chosen, idle = select(weighed, config=config, seed=seed)

    # 4. What helps on other questions?
    exams = []
    for dream in chosen:
        exams.append(exam_of(dream, sound, pairs=pairs, most=config.examined, rng=rng))
    tried = trial(dreamer, chosen, exams=exams, config=config)
    return [*refused, *held_out, *idle, *tried]


def contexts(
    material: Material, *, links: Collection[Link], config: DreamConfig, seed: int
) -> list[Context]:
    """What to dream about, one of tonight's memories in each.

    A share of pairs that lead to each other, as large a share of single memories (`config.linked`);
    then pairs that share a name and unrelated pairs, in turn.

    Args:
        material: tonight's episodes, and earlier ones.
        links: pairs of ids, see `leads`.
        config: how many.
        seed: of the choice.
    """
    rng = random.Random(seed)
    tonight = material.tonight
    episodes = {episode.id: episode for episode in (*tonight, *material.earlier)}
    new = material.new_ids

    def shuffled(pairs: Iterable[Collection[str]]) -> list[Context]:
        """The contexts that these pairs of ids make, in random order."""
        fitting = set()
        for pair in map(frozenset, pairs):
            if len(pair) == 2 and pair & new and pair <= episodes.keys():
                fitting.add(tuple(sorted(pair)))
        order = rng.sample(sorted(fitting), len(fitting))
        return [_oldest_first(episodes[one], episodes[other]) for one, other in order]

    # 1. The four sorts, each in random order
    linked = shuffled(links)
    sharing = shuffled(_about_the_same(episodes.values(), new))
    unrelated = shuffled(_by_chance(list(episodes), new, rng))
    singles: list[Context] = [(episode,) for episode in rng.sample(tonight, len(tonight))]

    # 2. Each of the first two has its share, and what is over of it comes last. A product that
    # falls short of a whole number by rounding alone counts as the whole.
    share = int(config.contexts * config.linked + 1e-9)
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(sharing, unrelated))
    others = [context for context in in_turn if context is not None]
    ranked = [*linked[:share], *singles[:share], *others, *linked, *singles]
    return list(dict.fromkeys(ranked))[: config.contexts]


def sample(
    dreamer: Dreamer, about: Sequence[Context], *, config: DreamConfig, seed: int
) -> list[Dream]:
    """`config.samples` dreams about each context.

    Of the experts beside the dreamer's, one at random is on for all dreams about a context.
    """
    rng = random.Random(seed)
    contexts_by_expert: dict[str, list[Context]] = {}
    for context in about:
        expert = rng.choice(dreamer.beside) if dreamer.beside and config.random_expert else ""
        contexts_by_expert.setdefault(expert, []).append(context)

    # Whoever is on holds for a whole call, so each expert's contexts are dreamt about together.
    sampled = []
    for expert, its_contexts in contexts_by_expert.items():
        blank = []
        for context in its_contexts:
            blank += [Dream(context, expert, "")] * config.samples
        is_another = expert not in ("", dreamer.expert)
        texts = dreamer.local.answer(
            [open_book(DREAM, dream.lines) for dream in blank],
            (dreamer.expert, expert) if is_another else (dreamer.expert,),
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            seed=seed,
        )
        for dream, text in zip(blank, texts, strict=True):
            sampled.append(replace(dream, text=text))
    return sampled


def hold_out(dreams: Sequence[Dream], rng: random.Random) -> tuple[list[Dream], list[Dream]]:
    """Of every second thing that was dreamt in several wordings, keep one for the exam.

    Returns:
        Those that are kept, and the others, which may teach.
    """
    wordings: dict[tuple[Context, str], list[Dream]] = {}
    for dream in dreams:
        wordings.setdefault((dream.context, dream.answer), []).append(dream)
    several = [group for group in wordings.values() if len(group) > 1]
    held_out = [replace(rng.choice(group), fate=Fate.HELD_OUT) for group in several[::2]]
    examined = {dream.question for dream in held_out}
    return held_out, [dream for dream in dreams if dream.question not in examined]


def select(
    dreams: Sequence[Dream], *, config: DreamConfig, seed: int
) -> tuple[list[Dream], list[Dream]]:
    """Choose what is tried: the `dreams_tried` most important and `random` others.

    Returns:
        The chosen dreams, and the rest.
    """
    rng = random.Random(seed)
    if not config.by_gradient:
        shuffled = rng.sample(dreams, len(dreams))
        most = config.dreams_tried + config.random
        return shuffled[:most], shuffled[most:]

    ranked = sorted(dreams, key=lambda dream: -dream.importance)
    chosen, rest = ranked[: config.dreams_tried], ranked[config.dreams_tried :]
    # Some by chance: a small gradient may help all the same.
    lucky = set(_some(range(len(rest)), config.random, rng))
    idle = []
    for index, dream in enumerate(rest):
        if index in lucky:
            chosen.append(dream)
        else:
            idle.append(dream)
    return chosen, idle


def exam_of(
    dream: Dream, dreams: Sequence[Dream], *, pairs: Sequence[Pair], most: int, rng: random.Random
) -> list[Pair]:
    """What the trial of a dream is scored on.

    At most half of it are other dreams about the same, the rest other questions of tonight.

    Args:
        dream: the one that is tried.
        dreams: all sound ones.
        pairs: tonight's questions.
        most: how many are asked.
        rng: chooses.
    """
    about_the_same = []
    for other in dreams:
        shares_an_episode = not set(dream.episode_ids).isdisjoint(other.episode_ids)
        if other.question != dream.question and shares_an_episode:
            about_the_same.append(other.pair)
    near = _some(about_the_same, most // 2, rng)
    # The rest shows that what was learned tonight does not suffer.
    far = [pair for pair in pairs if pair.question != dream.question and pair not in near]
    return [*near, *_some(far, most - len(near), rng)]


def _rewarded(dreams: Sequence[Dream]) -> list[Dream]:
    return [dream for dream in dreams if dream.fate is Fate.REWARDED]


def _tonights_pairs(material: Material) -> list[Pair]:
    """What was asked about tonight's episodes."""
    new, pairs = material.new_ids, []
    for fact in material.facts:
        if fact.episode_id in new:
            pairs.append(Pair(fact.question, fact.answer))
    return pairs


def _about_the_same(episodes: Iterable[Episode], new: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs of ids, one of tonight's first, whose episodes share a rare term."""
    having: dict[str, set[str]] = {}
    for episode in episodes:
        for term in rare(episode.text):
            having.setdefault(term, set()).add(episode.id)
    for ids in having.values():
        yield from itertools.product(ids & new, ids)


def _by_chance(ids: Sequence[str], new: set[str], rng: random.Random) -> Iterator[tuple[str, str]]:
    """Pairs of each of tonight's ids with some others."""
    for one in sorted(new):
        for other in _some(ids, _UNRELATED, rng):
            yield one, other


def _oldest_first(*episodes: Episode) -> Context:
    return tuple(sorted(episodes, key=lambda episode: episode.age_key))


def _some(items: Sequence[Item], most: int, rng: random.Random) -> list[Item]:
    """At most so many of them, in random order."""
    return rng.sample(items, min(len(items), most))
