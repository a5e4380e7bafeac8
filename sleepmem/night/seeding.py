"""Knowledge seeding: the model that reads the episodes teaches the one that no longer needs to.

    L = alpha * D(teacher || student) - (1 - alpha) * E[reward]      (arXiv 2606.03979, section 4)

Teacher and student are views of one model, and only the new expert trains. The answers of a batch
are the teacher's (off-policy) or, with probability lambda, cut at a random prefix and completed by
the student (on-policy); the completed ones are also rewarded for meaning and for wording (learning
to imitate). The loop, the rollouts and the divergence are TRL's; this file adds the two contexts of
a row and the reward.

Every batch holds four kinds of rows (`rows.RowKind`), each with its own pair of views; what leaving
three of them out costs is in `docs/lab/2026-11-22-each-part-left-out-three-seeds.md`.

Letters: R rows of a batch, N answer tokens of all rows, K those of them that are trained on,
V vocabulary.

Departs from the paper: the policy gradient is REINFORCE with a leave-one-out baseline over the
on-policy rows of a batch; one sample a row, and that sample goes on from a prefix of the teacher's
answer, where GKD's is the student's from the first token.
"""

from __future__ import annotations

import random
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict

import torch
from datasets import Dataset
from torch.nn.functional import one_hot
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.distillation_config import DistillationConfig
from trl.trainer.distillation_trainer import DistillationTrainer

from sleepmem.config import SeedingConfig
from sleepmem.model.generation import buckets
from sleepmem.model.local import LocalModel
from sleepmem.night.expected import Expected, classes
from sleepmem.night.rewards import Semantic, reward
from sleepmem.night.rows import Row, RowKind, compose

# TRL warns that this module may move; the pin in pyproject.toml is the answer.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from trl.experimental.gkd import GKDTrainer

# Receives (step, steps, loss).
Progress = Callable[[int, int, float], None]
# The names of the experts that are on in a view; none is the base.
Experts = tuple[str, ...]

# Most memory for what the teachers expect, which is computed once and not at every step.
_TEACHERS_BYTES = 1 << 30
# Batches that decide whether seeding ends early.
_LAST_BATCHES = 8
# A logit this far above the others is a probability of one.
_CERTAIN_LOGIT = 100.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """Who learns what.

    expert     is trained; it was added to the model
    before     the experts that were live this evening
    rows       what to teach, of the four kinds
    absorbed   experts of a faster level that `expert` is to replace: on in the teacher of
               rehearsal, off in the student
    """

    expert: str
    before: Experts
    rows: Sequence[Row]
    absorbed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Seeded:
    """The seeding curve (one point per logged step) and what it cost."""

    curve: tuple[dict[str, float], ...]
    tokens_trained: int


class Example(TypedDict):
    """A row in token ids, as it lies in the data set.

    row          its number: a row is drawn more than once
    prompt       empty; TRL asks for this column
    answer_ids   the teacher's answer, with the end of its turn
    """

    row: int
    kind: str
    certain: bool
    prompt: str
    student_ids: list[int]
    teacher_ids: list[int]
    answer_ids: list[int]


class Answered(NamedTuple):
    """An example with the answer that it is trained on.

    ids   the teacher's answer, or what the student made of its beginning
    cut   tokens of that beginning; None when the whole answer is the teacher's
    """

    example: Example
    ids: list[int]
    cut: int | None = None

    @property
    def own(self) -> list[bool]:
        """Of every token, whether it is trained on: what the student was given is not its own."""
        given = self.cut or 0
        return [False] * given + [True] * (len(self.ids) - given)


class Batch(TypedDict):
    """What one step learns from, one entry a row.

    advantage            by how much a completed answer earned more than the others of its batch;
                         it comes first, because TRL measures the batch by the first value
    num_items_in_batch   tokens that are trained on, under TRL's name
    """

    advantage: torch.Tensor
    rows: list[Answered]
    num_items_in_batch: torch.Tensor


def seed(
    local: LocalModel,
    lesson: Lesson,
    *,
    config: SeedingConfig,
    semantic: Semantic,
    progress: Progress | None = None,
    accumulation: int = 1,
) -> Seeded:
    """Train the lesson's expert, with those of this evening on beside it. Nothing else changes.

    Args:
        local: the model.
        lesson: who learns what.
        config: steps, batch, learning rate and the weights of the loss.
        semantic: the frozen judge of the reward.
        progress: called at every logged step.
        accumulation: passes that a batch is split into; they are one step.
    """
    # A row that is drawn more than once is read once, by the tokenizer and by its teacher.
    examples: list[Example] = []
    distinct: dict[int, Example] = {}
    for row in compose(lesson.rows, config):
        if id(row) not in distinct:
            distinct[id(row)] = _tokenize(local, row, number=len(distinct))
        examples.append(distinct[id(row)])

    # The new expert takes the place of what it absorbs, which rehearsal's teacher alone still has.
    beside = [name for name in lesson.before if name not in lesson.absorbed]
    view = (*beside, lesson.expert)
    curve = _Curve(progress)
    with tempfile.TemporaryDirectory() as scratch, local.view(view, training=lesson.expert):
        trainer = SeedingTrainer(
            local,
            lesson.before,
            config=config,
            semantic=semantic,
            train_dataset=Dataset.from_list(examples),
            args=_arguments(config, scratch, accumulation, local=local),
            callbacks=[curve],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_StopEarly(trainer.as_taught, config.stop_at))
        trainer.teach(list(distinct.values()))
        trainer.train()
    local.model.eval()
    return Seeded(tuple(curve.points), trainer.tokens_trained)


class SeedingTrainer(DistillationTrainer):
    """TRL's trainer with a context per view, off-policy rows, and the imitation reward.

    Single process. Runs in the student's view.

    Args:
        local: the model.
        before: experts of the teacher of rehearsal.
        config: weights of the loss, share of on-policy batches, seed.
        semantic: the frozen judge of the reward.
        trl: arguments of `DistillationTrainer`.

    tokens_trained   so far
    as_taught        of the last off-policy rows, whether the student would say the same, word for
                     word
    taught           by row, what its teacher expects at the teacher's answer, as far as there is
                     room
    """

    def __init__(
        self,
        local: LocalModel,
        before: Experts,
        *,
        config: SeedingConfig,
        semantic: Semantic,
        **trl: Any,
    ) -> None:
        super().__init__(model=local.model, processing_class=local.tokenizer, **trl)
        self.local, self.before = local, before
        self.seeding, self.semantic = config, semantic
        self.rng = random.Random(config.seed)
        self.tokens_trained = 0
        self.as_taught: deque[bool] = deque(maxlen=_LAST_BATCHES * config.batch)
        self.taught: dict[int, Expected] = {}

    # The answers of a batch

    def _generate_and_score_completions(  # type: ignore[override]
        self, inputs: list[Example]
    ) -> Batch:
        """TRL's hook, before every step: whose answers it is trained on, and what they earn."""
        rows = [Answered(example, example["answer_ids"]) for example in inputs]
        if self.rng.random() < self.seeding.lambda_:
            rows = self._complete(rows)

        # REINFORCE, one left out: the mean of the others is what was to be expected, so an answer
        # that is the only one earns nothing.
        completed = [place for place, row in enumerate(rows) if row.cut is not None]
        rewards = [self._reward(rows[place]) for place in completed]
        advantage_R = torch.zeros(len(rows))
        if len(completed) > 1:
            reward_R = torch.tensor(rewards)
            others_R = (reward_R.sum() - reward_R) / (len(completed) - 1)
            advantage_R[completed] = reward_R - others_R
            self._metrics["train"]["reward"].append(reward_R.mean().item())

        trained = sum(sum(row.own) for row in rows)
        self.tokens_trained += trained
        return {
            "advantage": advantage_R,
            "rows": rows,
            "num_items_in_batch": torch.tensor(float(trained), device=self.accelerator.device),
        }

    def _complete(self, rows: list[Answered]) -> list[Answered]:
        """Let the student go on from a random prefix of the teacher's answers.

        Not where it reads, and not where the answer is certain.
        """
        prompts: list[list[int]] = []
        prefixes: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            if row.example["kind"] == RowKind.READING or row.example["certain"]:
                continue
            prefixes[place] = row.ids[: self.rng.randrange(len(row.ids))]
            prompts.append([*row.example["student_ids"], *prefixes[place]])
        if not prompts:
            return rows

        # TRL's rollout: up to the end of the turn, or to `max_new_tokens`.
        completed = list(rows)
        completions = self._generate_single_turn(prompts, None, {})
        for (place, prefix), completion in zip(prefixes.items(), completions, strict=True):
            self.local.tokens_generated += len(completion)
            ids = [*prefix, *completion]
            completed[place] = Answered(rows[place].example, ids, cut=len(prefix))
        return completed

    def _reward(self, row: Answered) -> float:
        """What a completed answer earns, against the teacher's."""
        decode = self.local.tokenizer.decode
        return reward(
            str(decode(row.ids, skip_special_tokens=True)).strip(),
            str(decode(row.example["answer_ids"], skip_special_tokens=True)).strip(),
            semantic=self.semantic,
            gamma=self.seeding.gamma,
            z0=self.seeding.z0,
        )

    # The loss

    def _compute_loss(
        self, student: Any, inputs: Batch, items: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """TRL's hook: the loss, the student's entropy summed over the K tokens, and K.

        The entropy is that of the teacher's classes.
        """
        # 1. What do teacher and student expect at every token of the answers?
        rows = inputs["rows"]
        teacher = self._expected(rows)
        student_N_V = self._logits("student_ids", rows)
        device = student_N_V.device

        # 2. Which tokens are trained on, and what did their answers earn?
        ids, own, advantages = [], [], []
        for row, advantage in zip(rows, inputs["advantage"].tolist(), strict=True):
            ids += row.ids
            own += row.own
            advantages += [advantage] * len(row.ids)
        token_N, own_N = torch.tensor(ids, device=device), torch.tensor(own, device=device)
        advantage_K = torch.tensor(advantages, device=device)[own_N]
        self._compare(student_N_V.argmax(-1) == token_N, rows)
        token_K, count = token_N[own_N], own_N.sum()

        # 3. Distillation: the student expects what the teacher does.
        student_K_V = student_N_V[own_N].float()
        student_K_C = classes(student_K_V, teacher.token_N_k[own_N])
        divergence = GKDTrainer.generalized_jsd_loss(
            student_K_C[None],
            teacher.logits_N_C[own_N][None],
            beta=self.seeding.beta,
            reduction="sum",
        )

        # 4. Imitation: what earned more than the others of its batch becomes likelier.
        log_K = student_K_V.gather(-1, token_K[:, None])[:, 0] - student_K_V.logsumexp(-1)
        imitation = (advantage_K * log_K).sum()

        alpha = self.seeding.alpha
        total = alpha * divergence - (1 - alpha) * imitation
        log_K_C = student_K_C.detach().log_softmax(-1)
        entropy = -(log_K_C.exp() * log_K_C).sum()
        return total / (count if items is None else items), entropy, count

    def _logits(
        self, context: Literal["student_ids", "teacher_ids"], rows: Sequence[Answered]
    ) -> torch.Tensor:
        """Logits_N_V that predict the answers after this context, in the view that is on."""
        prompts = [row.example[context] for row in rows]
        return self.local.logits(prompts, [row.ids for row in rows])

    def _compare(self, same_N: torch.Tensor, rows: Sequence[Answered]) -> None:
        """Note of every row whether the student would say the same.

        Only of an off-policy batch: where the student completes, nearly all that is left to count
        is reading.
        """
        if all(row.cut is None for row in rows):
            for same in _by_row(same_N, rows):
                self.as_taught.append(bool(same.all()))

    # The teachers

    @torch.no_grad()
    def teach(self, examples: Sequence[Example]) -> None:
        """Have the teachers read every example once, as many as there is room for."""
        by_teacher: dict[Experts, list[Answered]] = {(): [], self.before: []}
        for example in examples:
            row = Answered(example, example["answer_ids"])
            if example["certain"]:
                self.taught[example["row"]] = self._certain(row.ids)
            else:
                by_teacher[self._teacher_of(row)].append(row)

        # Pass by pass: more logits than those of one are never in memory.
        room = _TEACHERS_BYTES
        for teacher, theirs in by_teacher.items():
            lengths = [len(row.example["teacher_ids"]) + len(row.ids) for row in theirs]
            for places in buckets(lengths):
                rows = [theirs[place] for place in places]
                expected_by_row = self._read(teacher, rows)
                room -= sum(expected.nbytes for expected in expected_by_row)
                if room < 0:
                    return
                for row, expected in zip(rows, expected_by_row, strict=True):
                    self.taught[row.example["row"]] = expected

    @torch.no_grad()
    def _expected(self, rows: Sequence[Answered]) -> Expected:
        """What each row's own teacher expects at all N tokens."""
        # What is certain needs no teacher, and what was read at the beginning stays as it was.
        by_place: dict[int, Expected] = {}
        by_teacher: dict[Experts, dict[int, Answered]] = {(): {}, self.before: {}}
        for place, row in enumerate(rows):
            if row.cut is None and row.example["row"] in self.taught:
                by_place[place] = self.taught[row.example["row"]]
            else:
                by_teacher[self._teacher_of(row)][place] = row

        for teacher, unread in by_teacher.items():
            if unread:
                expected_by_row = self._read(teacher, list(unread.values()))
                by_place.update(zip(unread, expected_by_row, strict=True))
        tokens, logits = zip(*(by_place[place] for place in range(len(rows))), strict=True)
        return Expected(torch.cat(tokens), torch.cat(logits))

    def _teacher_of(self, row: Answered) -> Experts:
        """The base, or for rehearsal the model as it was this evening."""
        return self.before if row.example["kind"] == RowKind.REHEARSAL else ()

    def _read(self, teacher: Experts, rows: Sequence[Answered]) -> list[Expected]:
        """What the teacher expects at every answer, row by row."""
        with self.local.view(teacher):
            logits_by_row = _by_row(self._logits("teacher_ids", rows), rows)
        kept = self.seeding.teacher_tokens
        return [Expected.of(logits_N_V, kept) for logits_N_V in logits_by_row]

    def _certain(self, ids: Sequence[int]) -> Expected:
        """A teacher that says this and nothing else."""
        token_N = torch.tensor(ids, device=self.accelerator.device)
        logits_N_V = _CERTAIN_LOGIT * one_hot(token_N, self.local.vocabulary).float()
        return Expected.of(logits_N_V, self.seeding.teacher_tokens)


class _Curve(TrainerCallback):
    """Keeps a point of the curve for every step that TRL logs, and reports it."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.points: list[dict[str, float]] = []

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        point = {"step": float(state.global_step), "loss": loss}
        # Missing where none of the batches since the last point was on-policy.
        if "reward" in logs:
            point["reward"] = float(logs["reward"])
        self.points.append(point)
        if self.progress:
            self.progress(state.global_step, state.max_steps, loss)


class _StopEarly(TrainerCallback):
    """Ends the training once this share of the last rows is said as it was taught; 0: never."""

    def __init__(self, as_taught: deque[bool], share: float) -> None:
        self.as_taught, self.share = as_taught, share

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        is_full = len(self.as_taught) == self.as_taught.maxlen
        if self.share and is_full and sum(self.as_taught) >= self.share * len(self.as_taught):
            control.should_training_stop = True


def _tokenize(local: LocalModel, row: Row, *, number: int) -> Example:
    return {
        "row": number,
        "kind": row.kind.value,
        "certain": row.certain,
        "prompt": "",
        "student_ids": local.prompt_ids(row.student),
        "teacher_ids": local.prompt_ids(row.teacher),
        "answer_ids": local.answer_ids(row.answer),
    }


def _arguments(
    config: SeedingConfig, scratch: str, accumulation: int, *, local: LocalModel
) -> DistillationConfig:
    """TRL's settings: those of the night, and no files, bars or gradient checkpoints."""
    return DistillationConfig(
        output_dir=scratch,
        max_steps=config.steps,
        per_device_train_batch_size=config.batch // accumulation,
        gradient_accumulation_steps=accumulation,
        learning_rate=config.lr or local.profile.lr,
        lr_scheduler_type="linear",
        warmup_steps=min(10, config.steps // 5),
        max_grad_norm=1.0,
        weight_decay=0.0,
        max_completion_length=config.max_new_tokens,
        # The rows come in the order in which `compose` dealt them.
        shuffle_dataset=False,
        remove_unused_columns=False,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=local.device == "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_steps=max(1, config.steps // 40),
        seed=config.seed,
    )


def _by_row(values_N: torch.Tensor, rows: Sequence[Answered]) -> tuple[torch.Tensor, ...]:
    """The values of every row's tokens apart."""
    return tuple(values_N.split([len(row.ids) for row in rows]))
