"""The schooling of a model: one adapter, trained on lessons, held out by what `fit` measures.

The loop, its checkpoints and the early stop are transformers' Trainer's. What answers a memory's
questions is learned by cross-entropy; answers to general prompts are the model's own and stay near
to it by KL divergence.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, SequentialSampler
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from sleepmem.errors import ModelError
from sleepmem.evals.fit import measures
from sleepmem.evals.lives.diary import RUN, Diary
from sleepmem.model import habits, profiles
from sleepmem.model.encoding import Encoding
from sleepmem.model.habits import Habits, Rehearsed
from sleepmem.model.local import LocalModel
from sleepmem.model.profiles import Profile
from sleepmem.school import topics
from sleepmem.school.lessons import Lesson, lesson, one_question
from sleepmem.school.texts import Texts, digests
from sleepmem.text.prompts import beside_question, closed_book

_IGNORED = -100
# Batches that are drawn together and sorted by length, so that little is padded.
_WINDOW = 16
# What nights go over of a school: so many readings, of so many tokens at most.
_READINGS, _SHORT = 200, 220


@dataclass(frozen=True)
class Recipe:
    """How a model is schooled.

    tokens      of a batch, padding among them
    longest     tokens of a lesson; longer ones are left out
    keep        weight of staying near to the model's own answers
    decay       last share of the steps, in which the learning rate falls to nothing
    patience    measurements without a better one, until it stops
    """

    seed: int = 0
    steps: int = 700
    tokens: int = 2048
    longest: int = 900
    rank: int = 16
    lr: float = 8e-4
    keep: float = 4.0
    warmup: int = 30
    decay: float = 0.3
    measured_every: int = 100
    cases: int = 20
    patience: int = 4


class Row(NamedTuple):
    """Token ids of a lesson, and what of them is taught.

    branches  of each token: 0 of what all questions share, else the number of its question
    keeps     as in `Lesson`
    """

    ids: list[int]
    labels: list[int]
    branches: list[int]
    keeps: bool


class Batches(Dataset[dict[str, torch.Tensor]]):
    """Batches of lessons, each made when it is asked for, always the same at its place."""

    def __init__(self, recipe: Recipe, draw: Callable[[random.Random], Row], pad: int) -> None:
        self._recipe, self._draw, self._pad = recipe, draw, pad
        self._window: tuple[int, list[list[Row]]] = (-1, [])

    def __len__(self) -> int:
        return self._recipe.steps

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        window, number = divmod(place, _WINDOW)
        if self._window[0] != window:
            self._window = window, self._drawn(window)
        return _padded(self._window[1][number], self._pad)

    def _drawn(self, window: int) -> list[list[Row]]:
        rng = random.Random(f"school/{self._recipe.seed}/{window}")
        budget = self._recipe.tokens
        while True:
            rows: list[Row] = []
            while sum(len(row.ids) for row in rows) < 1.05 * _WINDOW * budget:
                row = self._draw(rng)
                if len(row.ids) <= self._recipe.longest:
                    rows.append(row)
            batches = list(_batched(sorted(rows, key=lambda row: len(row.ids)), budget))
            if len(batches) >= _WINDOW:
                rng.shuffle(batches)
                return batches[:_WINDOW]


def _padded(rows: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    """One tensor of each field, (rows, longest); padding is no branch's."""

    def filled(lists: Sequence[list[int]], value: int) -> torch.Tensor:
        return pad_sequence(list(map(torch.tensor, lists)), True, value)

    return {
        "input_ids": filled([row.ids for row in rows], pad),
        "branches": filled([row.branches for row in rows], _IGNORED),
        "labels": filled([row.labels for row in rows], _IGNORED),
        "keeps": torch.tensor([row.keeps for row in rows]),
    }


def _batched(rows: Sequence[Row], budget: int) -> Iterator[list[Row]]:
    """Sorted rows in batches that hold the budget when they are padded."""
    batch: list[Row] = []
    for row in rows:
        if batch and (len(batch) + 1) * len(row.ids) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def encoded(encoding: Encoding, one: Lesson, *, end: int) -> Row:
    """Each question as if it alone were asked, beside the others: what they share is read once."""
    messages = list(one.messages)
    first = 1 if messages[0]["role"] == "system" else 0
    asked, answers = [], []
    for place in range(first, len(messages), 2):
        chat = beside_question([*messages[:first], messages[place]])
        asked.append(encoding.chat(chat))
        answers.append([*encoding.text(messages[place + 1]["content"]), end])
    columns = itertools.takewhile(lambda tokens: len({*tokens}) == 1, zip(*asked, strict=False))
    shared = [tokens[0] for tokens in columns]
    ids, labels = list(shared), [_IGNORED] * len(shared)
    branches = [0] * len(shared)
    for number, (question, answer) in enumerate(zip(asked, answers, strict=True), start=1):
        question = question[len(shared) :]
        ids += [*question, *answer]
        labels += [*[_IGNORED] * len(question), *answer]
        branches += [number] * (len(question) + len(answer))
    return Row(ids, labels, branches, one.keeps)


class _Schooling(Trainer):
    """Trains the adapter, and measures it as `fit` does."""

    score: Callable[[], dict[str, float]]
    keep: float

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
        labels, keeps = inputs["labels"], inputs["keeps"]
        taught = labels[:, 1:] != _IGNORED
        inner: PeftModel = self.accelerator.unwrap_model(model)
        logits = _logits(inner, inputs, taught)
        wanted = labels[:, 1:][taught]
        is_kept = keeps[:, None].expand_as(taught)[taught]
        losses = F.cross_entropy(logits, wanted, reduction="none")
        if keeps.any():
            own = {name: inputs[name][keeps] for name in ("input_ids", "branches")}
            with torch.no_grad(), inner.disable_adapter():
                before = _logits(inner, own, taught[keeps]).log_softmax(-1)
            apart = F.kl_div(
                logits[is_kept].log_softmax(-1), before, log_target=True, reduction="none"
            )
            losses = torch.cat([losses[~is_kept], self.keep * apart.sum(-1)])
        return losses.mean()

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        found = self.score()
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _get_train_sampler(self, *args: Any, **options: Any) -> Any:
        batches: Any = self.train_dataset
        return SequentialSampler(batches)


class _MeasuredLast(TrainerCallback):
    """Has the last step measured, too, wherever it falls."""

    def on_step_end(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        control.should_evaluate |= state.global_step >= state.max_steps


def _logits(model: PeftModel, inputs: Any, taught: torch.Tensor) -> torch.Tensor:
    """Logits before each taught token: the vocabulary is projected nowhere else."""
    base: Any = model.get_base_model()
    ids, branches = inputs["input_ids"], inputs["branches"]
    hidden = base.model(
        input_ids=ids,
        position_ids=_positions(branches),
        attention_mask=_mask(branches, base.dtype),
    ).last_hidden_state
    logits: torch.Tensor = base.get_output_embeddings()(hidden[:, :-1][taught]).float()
    return logits


def _positions(branches: torch.Tensor) -> torch.Tensor:
    """Of each token: a branch goes on where what is shared ends."""
    places = torch.arange(branches.shape[1], device=branches.device).expand_as(branches)
    shared = (branches == 0).sum(1, keepdim=True)
    begins = torch.ones_like(branches, dtype=torch.bool)
    begins[:, 1:] = branches[:, 1:] != branches[:, :-1]
    begun = (places * begins).cummax(1).values
    return torch.where(branches == 0, places, shared + places - begun)


def _mask(branches: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(rows, 1, length, length), for attention: what is shared and its own branch is seen."""
    sees = branches[:, None, :, None] == branches[:, None, None, :]
    sees = (sees | (branches == 0)[:, None, None, :]).tril()
    return torch.zeros_like(sees, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)


def school(
    local: LocalModel,
    out: Path,
    *,
    data: Path | None = None,
    start: Path | None = None,
    recipe: Recipe | None = None,
) -> None:
    """Train the habits of a model into an adapter.

    Resumes where an earlier run with the same folder stopped.

    Args:
        local: the model to be schooled.
        out: receives the adapter, its card, and checkpoints.
        data: folder of public sets that are read, too (`texts`).
        start: habits of an earlier school, which are taught on.
        recipe: how.

    Raises:
        ModelError: the folder lacks a set, `start` holds no habits of this model, or `out` is of
            another run.
    """
    recipe = recipe or Recipe()
    _check_same(out, _begun_with(local, recipe, data=data, start=start))
    answers = _own_answers(local, out)
    texts = Texts(data, answers)
    encoding, end = local.encoding, local.ends[0]
    batches = Batches(
        recipe,
        lambda rng: encoded(encoding, lesson(rng, texts), end=end),
        local.tokenizer.pad_token_id,
    )
    torch.manual_seed(recipe.seed)
    model = habits.adapter(local.base, rank=recipe.rank, start=start)
    trainer = _Schooling(
        model,
        _arguments(recipe, out / "checkpoints", use_cpu=local.device == "cpu"),
        data_collator=lambda batch: batch[0],
        train_dataset=batches,
        eval_dataset=batches,
        callbacks=[EarlyStoppingCallback(recipe.patience), _MeasuredLast()],
    )
    trainer.score, trainer.keep = lambda: _measured(local, model, recipe), recipe.keep
    trainer.train(resume_from_checkpoint=_last(out / "checkpoints"))
    _save(model, out)
    readings = _readings(encoding, recipe.seed)
    lines = [json.dumps(one._asdict(), ensure_ascii=False) for one in readings]
    (out / habits.REHEARSAL).write_text("\n".join(lines) + "\n", "utf-8")
    card = {
        "bases": [local.known_by],
        "start": str(start) if start else None,
        "recipe": asdict(recipe),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step,
        "history": trainer.state.log_history,
    }
    (out / habits.CARD).write_text(json.dumps(card, indent=1) + "\n", "utf-8")
    _write_profile(Habits.read(start).profile if start else local.profile, out)


def _write_profile(profile: Profile, out: Path) -> None:
    """The lessons put memories into the user's turn; all else stays as it was."""
    written = asdict(replace(profile, memories="user"))
    (out / profiles.FILE).write_text(json.dumps(written) + "\n", "utf-8")


def _begun_with(
    local: LocalModel, recipe: Recipe, *, data: Path | None, start: Path | None
) -> dict[str, Any]:
    """What a run depends on, files by their hash. Of its steps there may be more later."""
    fixed = asdict(recipe)
    del fixed["steps"]
    return {
        "model": [local.known_by, local.habits],
        "data": digests(data),
        "start": Habits.read(start).sha256 if start else None,
        "recipe": fixed,
    }


def _check_same(out: Path, asked: dict[str, Any]) -> None:
    """That the folder is of a run like this one, or of none yet."""
    begun = Diary(out).begin(asked)
    differing = [key for key in asked if begun.get(key) != asked[key]]
    if differing:
        raise ModelError(
            f"the school in {out} was begun with other {', '.join(differing)} (its {RUN} tells "
            "them). Choose another folder."
        )


def _arguments(recipe: Recipe, checkpoints: Path, *, use_cpu: bool) -> TrainingArguments:
    """transformers' settings: those of the recipe, and checkpoints to go on from."""
    return TrainingArguments(
        str(checkpoints),
        max_steps=recipe.steps,
        per_device_train_batch_size=1,
        learning_rate=recipe.lr,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={
            "num_decay_steps": round(recipe.decay * recipe.steps),
            "decay_type": "linear",
            "min_lr_ratio": 0.02,
        },
        warmup_steps=recipe.warmup,
        weight_decay=0.0,
        max_grad_norm=1.0,
        logging_steps=10,
        eval_strategy="steps",
        eval_steps=recipe.measured_every,
        save_steps=recipe.measured_every,
        save_total_limit=2,
        # The weights that measured best are what is written in the end.
        load_best_model_at_end=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        report_to=[],
        use_cpu=use_cpu,
        label_names=["labels"],
        metric_for_best_model="fit",
        greater_is_better=True,
        seed=recipe.seed,
        data_seed=recipe.seed,
    )


def _last(checkpoints: Path) -> str | None:
    """Where an earlier run stopped."""
    return get_last_checkpoint(str(checkpoints)) if checkpoints.exists() else None


def _save(model: PeftModel, out: Path) -> None:
    """The adapter in half precision; nothing is read of its settings but two numbers."""
    weights = get_peft_model_state_dict(model)
    halved = {name: weight.detach().half().contiguous() for name, weight in weights.items()}
    save_file(halved, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config: Any = model.peft_config["default"]
    settings = {"r": config.r, "lora_alpha": config.lora_alpha}
    (out / "adapter_config.json").write_text(json.dumps(settings) + "\n", "utf-8")


def _readings(encoding: Encoding, seed: int) -> Iterator[Rehearsed]:
    """Questions over a few memories, for nights to go over: of the topics alone."""
    rng, nothing = random.Random(f"rehearsal/{seed}"), Texts(None, ())
    found = 0
    while found < _READINGS:
        messages = list(one_question(rng, nothing).messages)
        if len(encoding.chat(beside_question(messages[:-1]))) <= _SHORT:
            found += 1
            yield Rehearsed(tuple(messages[:-1]), messages[-1]["content"])


def _own_answers(local: LocalModel, out: Path) -> list[tuple[str, str]]:
    """What the model answers to general prompts before it is schooled."""
    file = out / "answers.json"
    if not file.exists():
        general = topics.general()
        prompts = [*general["small_talk"], *general["general"]]
        prompts += [question for question, _ in general["facts"]]
        chats = [closed_book(prompt) for prompt in prompts]
        answers = local.answer(chats, max_new_tokens=48)
        file.write_text(json.dumps(list(zip(prompts, answers, strict=True)), indent=1), "utf-8")
    return [(prompt, answer) for prompt, answer in json.loads(file.read_text("utf-8")) if answer]


def _measured(local: LocalModel, model: PeftModel, recipe: Recipe) -> dict[str, float]:
    """What `fit` finds of the schooled model, by name, and the mean of it."""
    was_training = model.training
    model.eval()
    schooled = local.over(model.get_base_model())
    found = {one.name: one.score.rate for one in measures.read(schooled, recipe.cases)}
    found |= {one.name: one.score.rate for one in measures.write(schooled, recipe.cases)}
    model.train(was_training)
    found["eval_fit"] = statistics.mean(found.values())
    return found
