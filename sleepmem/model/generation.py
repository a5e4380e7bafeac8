"""Text in batches and in pieces, and the logits of given text.

Knows torch and transformers, no experts: `model` is whatever view the caller has put on.

| letter | dimension |
|---|---|
| R | rows of a batch |
| T | tokens of a row |
| V | vocabulary |
"""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
)
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from sleepmem.model.replies import Reply
from sleepmem.text.thoughts import without_thought

T = TypeVar("T")
R = TypeVar("R")
# Most tokens of a forward pass, padding and all: what lies between its layers stays small.
TOKENS_PER_PASS = 4096


class Sampling(NamedTuple):
    """How an answer is drawn: of the likeliest tokens at temperature 0.

    `stop`: texts that end it, each its last.
    `in_control`: whether its control tokens are kept.
    """

    max_new_tokens: int
    temperature: float
    stop: tuple[str, ...] = ()
    in_control: bool = False

    def options(self) -> dict[str, Any]:
        """What `generate` is told of it; drawn from all tokens, not from the likeliest alone."""
        told: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "do_sample": self.temperature > 0,
        }
        if self.temperature:
            told |= {"temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        return told


class RepliedBatch(NamedTuple):
    """The replies to some of the prompts.

    `rows`: which prompts, one a reply.
    `tokens`: how many were generated, padding aside.
    """

    rows: list[int]
    replies: list[Reply]
    tokens: int


class Padded(NamedTuple):
    """Rows made equally long; the mask is 1 at their own tokens."""

    ids_R_T: torch.Tensor
    mask_R_T: torch.Tensor


class Watch(LogitsProcessor):  # type: ignore[misc]
    """Changes no score; keeps the probability of the likeliest token at every step."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.steps.append(scores.float().softmax(-1).amax(-1))
        return scores

    def confidence(self, token_R_T: torch.Tensor, ends: Sequence[int]) -> list[float]:
        """Per row, the least of these up to the end of its answer.

        Args:
            token_R_T: what was generated at these steps.
            ends: ids of the tokens that end an answer.
        """
        end_R_T = torch.isin(token_R_T, torch.tensor(ends, device=token_R_T.device)).int()
        # The first end is the answer's last token. What follows is padding, of which nothing is
        # to be seen.
        over_R_T = end_R_T.cumsum(-1) - end_R_T > 0
        likeliest_R_T = torch.stack(self.steps, -1).masked_fill(over_R_T, 1.0)
        confidences: list[float] = likeliest_R_T.amin(-1).tolist()
        return confidences


class Stopped(StoppingCriteria):  # type: ignore[misc]
    """Ends an answer where it holds one of some texts."""

    def __init__(self, stop: Sequence[str], tokenizer: Any, width: int) -> None:
        self._stop, self._tokenizer, self._width = stop, tokenizer, width

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        texts = self._tokenizer.batch_decode(input_ids[:, self._width :])
        over = [any(stop in text for stop in self._stop) for text in texts]
        return torch.tensor(over, device=input_ids.device)


class Left(StoppingCriteria):  # type: ignore[misc]
    """Ends an answer that nobody reads any more."""

    def __init__(self, left: threading.Event) -> None:
        self._left = left

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.full(input_ids.shape[:1], self._left.is_set(), device=input_ids.device)


def pad(rows: Sequence[Sequence[int]], value: int, *, left: bool) -> Padded:
    """Make rows equally long: with `value` in front of them, or behind."""
    width = max(map(len, rows))
    ids_R_T = torch.full((len(rows), width), value)
    mask_R_T = torch.zeros(len(rows), width, dtype=torch.long)
    for row, ids in enumerate(rows):
        own = slice(width - len(ids), width) if left else slice(0, len(ids))
        ids_R_T[row, own] = torch.tensor(ids, dtype=torch.long)
        mask_R_T[row, own] = 1
    return Padded(ids_R_T, mask_R_T)


def buckets(lengths: Sequence[int], *, tokens: int = TOKENS_PER_PASS) -> list[list[int]]:
    """Rows in groups of like length, so that a long row does not make short ones expensive.

    Args:
        tokens: the most of a group, padding and all, unless it is a single row.
    """
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        is_alike = groups and lengths[row] <= 1.5 * lengths[groups[-1][0]] + 16
        if is_alike and (len(groups[-1]) + 1) * lengths[row] <= tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def reply_in_batches(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    tokenizer: Any,
    ends: Sequence[int],
    sampling: Sampling,
    batch: int,
) -> Iterator[RepliedBatch]:
    """Reply to token ids of prompts, at most `batch` at once, the shortest first.

    What several prompts begin with, such as the same memories, is read once where the model allows.
    """
    ordered = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    if not sampling.temperature:
        # What begins alike is read together.
        groups = sorted(
            _alike(prompts), key=lambda group: group.shared or len(prompts[group.rows[0]])
        )
        ordered = [row for group in groups for row in group.rows]

    def reply(rows: Sequence[int]) -> RepliedBatch:
        room = shared_width(model) - sampling.max_new_tokens
        padded, cache = _opened(model, [prompts[row] for row in rows], tokenizer, room=room)
        watch = Watch()
        ids_R_T = model.generate(
            input_ids=padded.ids_R_T.to(model.device),
            attention_mask=padded.mask_R_T.to(model.device),
            past_key_values=cache,
            logits_processor=LogitsProcessorList([watch]),
            stopping_criteria=_stopping(sampling.stop, tokenizer, padded.ids_R_T.shape[1]),
            **sampling.options(),
        )

        # What comes back begins with the prompts.
        token_R_T = ids_R_T[:, padded.ids_R_T.shape[1] :]
        tokens = int((token_R_T != tokenizer.pad_token_id).sum())
        texts = tokenizer.batch_decode(token_R_T, skip_special_tokens=not sampling.in_control)
        whole = _whole(token_R_T, texts, ends=ends, sampling=sampling)
        confidences = watch.confidence(token_R_T, ends)
        replies = []
        for text, confidence, is_whole in zip(texts, confidences, whole, strict=True):
            said = _said(text, sampling).strip()
            replies.append(Reply(said, confidence, is_whole=is_whole))
        return RepliedBatch(list(rows), replies, tokens)

    return in_batches(ordered, reply, most=batch)


def in_batches(rows: Sequence[T], run: Callable[[Sequence[T]], R], *, most: int) -> Iterator[R]:
    """What comes of the rows, at most so many at once; half as many where memory runs out."""
    while rows:
        some = rows[:most]
        try:
            result = run(some)
        except torch.OutOfMemoryError:
            if len(some) == 1:
                raise
            most = len(some) // 2
            continue
        yield result
        rows = rows[len(some) :]


def _whole(
    token_R_T: torch.Tensor, texts: Sequence[str], *, ends: Sequence[int], sampling: Sampling
) -> list[bool]:
    """Per row, whether its answer came to its end, and not to that of its room."""
    # The others went on until every one had ended.
    if token_R_T.shape[1] < sampling.max_new_tokens:
        return [True] * len(texts)
    ended_R = torch.isin(token_R_T, torch.tensor(ends, device=token_R_T.device)).any(-1)
    whole = []
    for ended, text in zip(ended_R.tolist(), texts, strict=True):
        whole.append(ended or any(stop in text for stop in sampling.stop))
    return whole


def _said(text: str, sampling: Sampling) -> str:
    """An answer without its thought; where calls are read, that is for who reads them."""
    return text if sampling.in_control else without_thought(text)


class _Opened(NamedTuple):
    """Prompts laid out for `generate`, and the cache of what is read of them already."""

    padded: Padded
    cache: Any = None


def shared_width(model: Any) -> float:
    """The most tokens that prompts may have to share what they begin with, answers among them.

    They lie behind padding between their beginning and their rest. Only attention sees past it,
    over its window at most, where the model is told positions; a recurrent layer reads it.
    """
    model = getattr(model, "get_base_model", lambda: model)()  # PEFT's forward names no arguments
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return 0
    width = math.inf
    for layer in DynamicCache(config=model.config).layers:
        if type(layer) is DynamicSlidingWindowLayer:
            width = min(width, layer.sliding_window)
        elif type(layer) is not DynamicLayer:
            return 0
    return width


def _opened(
    model: Any, prompts: Sequence[Sequence[int]], tokenizer: Any, *, room: float
) -> _Opened:
    """The prompts, what several of them begin with read once where that is no wider than `room`.

    Laid out as beginnings and rests, each behind its padding.
    """
    groups = _alike(prompts)
    if len(groups) == len(prompts) or max(map(len, prompts)) > room:
        return _Opened(pad(prompts, tokenizer.pad_token_id, left=True))

    # A prompt that begins like no other is cut where its rest is as long as theirs.
    cuts = [0] * len(prompts)
    for rows, shared in groups:
        for row in rows:
            cuts[row] = shared
    longest = max(len(prompts[row]) - shared for rows, shared in groups for row in rows if shared)
    for rows, shared in groups:
        if not shared:
            [row] = rows
            cuts[row] = max(1, len(prompts[row]) - longest)
    beginnings = [prompts[rows[0]][: cuts[rows[0]]] for rows, _ in groups]
    begun = pad(beginnings, tokenizer.pad_token_id, left=True)
    rests = [prompt[cut:] for prompt, cut in zip(prompts, cuts, strict=True)]
    rest = pad(rests, tokenizer.pad_token_id, left=True)
    if begun.ids_R_T.shape[1] + rest.ids_R_T.shape[1] > room:
        return _Opened(pad(prompts, tokenizer.pad_token_id, left=True))

    # By way of `generate`, which knows how each model counts positions behind padding.
    cache = model.generate(
        input_ids=begun.ids_R_T.to(model.device),
        attention_mask=begun.mask_R_T.to(model.device),
        max_new_tokens=1,
        do_sample=False,
        return_dict_in_generate=True,
    ).past_key_values
    places = torch.empty(len(prompts), dtype=torch.long)
    for place, (rows, _) in enumerate(groups):
        places[rows] = place
    cache.batch_select_indices(places.to(model.device))
    whole = (torch.cat([one[places], other], -1) for one, other in zip(begun, rest, strict=True))
    return _Opened(Padded(*whole), cache)


class _Group(NamedTuple):
    """Prompts, by row, and how many tokens they begin alike with; 0 of one alone."""

    rows: list[int]
    shared: int


def _alike(prompts: Sequence[Sequence[int]]) -> list[_Group]:
    """Groups of prompts of which each shares its first half, at least, with the next."""
    groups: list[_Group] = []
    for row in sorted(range(len(prompts)), key=lambda row: list(prompts[row])):
        prompt = prompts[row]
        if groups:
            rows, shared = groups[-1]
            before = prompts[rows[-1]]
            # Of each the last token is left: it tells what comes next.
            most = min(len(before), len(prompt)) - 1
            common = next((i for i in range(most) if before[i] != prompt[i]), most)
            if common and 2 * common >= len(prompt):
                groups[-1] = _Group([*rows, row], min(shared or common, common))
                continue
        groups.append(_Group([row], 0))
    return groups


def stream(
    view: Callable[[], AbstractContextManager[Any]],
    prompt: Sequence[int],
    *,
    tokenizer: Any,
    ends: Sequence[int],
    sampling: Sampling,
) -> Generator[str, None, Reply]:
    """Reply to one prompt in pieces, as they are generated; return the whole.

    Closed before its end, it generates no further.

    Args:
        view: gives the model. It is entered and left on the thread that generates.
    """
    pieces = TextIteratorStreamer(
        tokenizer, skip_prompt=True, skip_special_tokens=not sampling.in_control
    )
    watch = Watch()
    left = threading.Event()
    stopping = [*_stopping(sampling.stop, tokenizer, len(prompt)), Left(left)]
    made: list[torch.Tensor] = []
    errors: list[BaseException] = []

    def generate() -> None:
        try:
            with view() as model, torch.no_grad():
                if left.is_set():
                    return
                ids_R_T = torch.tensor([prompt], device=model.device)
                whole_R_T = model.generate(
                    input_ids=ids_R_T,
                    attention_mask=torch.ones_like(ids_R_T),
                    logits_processor=LogitsProcessorList([watch]),
                    stopping_criteria=StoppingCriteriaList(stopping),
                    streamer=pieces,
                    **sampling.options(),
                )
                made.append(whole_R_T[:, len(prompt) :])
        except BaseException as error:
            errors.append(error)
            # Without an end, the reader would wait for the next piece for ever.
            pieces.end()

    worker = threading.Thread(target=generate, daemon=True)
    worker.start()
    text = said = ""
    try:
        for piece in pieces:
            text, before = text + piece, len(said)
            said = _said(text, sampling).lstrip()
            if len(said) > before:
                yield said[before:]
    finally:
        left.set()
    worker.join()
    if errors:
        raise errors[0]
    [is_whole] = _whole(made[0], [text], ends=ends, sampling=sampling)
    return Reply(said.strip(), float(torch.stack(watch.steps).amin()), is_whole=is_whole)


def _stopping(stop: Sequence[str], tokenizer: Any, width: int) -> StoppingCriteriaList:
    """Where answers to prompts of this width end, beside the model's own ends."""
    return StoppingCriteriaList([Stopped(stop, tokenizer, width)] if stop else [])


def completion_logits(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    completions: Sequence[Sequence[int]],
    pad_token_id: int,
) -> list[torch.Tensor]:
    """Per row, the logits_T_V that predict each token of its completion; one forward pass."""
    rows = list(zip(prompts, completions, strict=True))
    padded = pad([[*prompt, *completion] for prompt, completion in rows], pad_token_id, left=False)

    # The vocabulary is wide: no logits for positions that lie in the prompts of all rows.
    first = min(map(len, prompts)) - 1
    last = padded.ids_R_T.shape[1] - 1
    logits_R_T_V = model(
        input_ids=padded.ids_R_T.to(model.device),
        attention_mask=padded.mask_R_T.to(model.device),
        logits_to_keep=torch.arange(first, last, device=model.device),
        use_cache=False,
    ).logits

    # The token before predicts a token.
    logits = []
    for row, (prompt, completion) in enumerate(rows):
        start = len(prompt) - 1 - first
        logits.append(logits_R_T_V[row, start : start + len(completion)])
    return logits
