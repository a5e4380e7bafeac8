"""Knowledge seeding: distil the model that reads the episodes into the model that no longer needs to (paper, section 4).

    L = alpha * D(teacher || student) - (1 - alpha) * E[reward]

Teacher and student are views of one model. The answers of a batch are the teacher's (off-policy) or, with probability lambda, cut at a random
prefix and completed by the student (on-policy); the completed ones are also rewarded for meaning and for wording (learning to imitate). Only
the new expert trains. The loop, the rollouts and the divergence are TRL's; this file adds the two contexts of a row and the reward.

Every batch holds four kinds of rows (`Row.kind`), each with its own pair of views (LAB.md: what leaving three of them out costs).

Departs from the paper: the policy gradient is REINFORCE with a leave-one-out baseline over the on-policy rows of a batch; one sample a row, and that
sample goes on from a prefix of the teacher's answer, where GKD's is the student's from the first token.
"""

from __future__ import annotations

import random
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from datasets import Dataset
from rapidfuzz.distance import Levenshtein
from transformers import PrinterCallback, TrainerCallback
from trl.trainer.distillation_config import DistillationConfig
from trl.trainer.distillation_trainer import DistillationTrainer

from sleepmem.config import SeedingConfig
from sleepmem.model.local import LocalModel

with (
    warnings.catch_warnings()
):  # TRL warns that this module may move; the pin in pyproject.toml is our answer
    warnings.simplefilter("ignore")
    from trl.experimental.gkd import GKDTrainer

_TAUGHT_BYTES, _TAUGHT_AT_ONCE = (
    1 << 30,
    64,
)  # most memory for the teachers' logits, which are computed once and not at every step; rows in a pass
_LAST = 8  # batches that decide whether seeding ends early
_CERTAIN = 100.0  # a logit this far above the others is a probability of one
Semantic = Callable[
    [str, str], float
]  # (made, wanted) -> 1.0 when they mean the same, else 0.0; frozen
Progress = Callable[[int, int, float], None]  # (step, steps, loss)


class RowKind(StrEnum):
    """What a row is for. Teacher's view / student's view, context:"""

    FACT = "fact"  # base with the episode / all experts without
    NEVER_SAID = "never_said"  # base without / all experts without
    REHEARSAL = "rehearsal"  # experts before tonight without / all experts without
    READING = "reading"  # base with memories / all experts with the same memories


@dataclass(frozen=True, slots=True)
class Row:
    """One question for both views, and the teacher's answer to it."""

    kind: RowKind
    student: tuple[dict[str, str], ...]  # chat messages
    teacher: tuple[dict[str, str], ...]
    answer: str
    certain: bool = False  # the answer itself is the teacher, with all the probability: plain fine-tuning on it (ReST-EM)


@dataclass(frozen=True, slots=True)
class Seeded:
    """The seeding curve (one point per logged step) and what it cost."""

    curve: tuple[dict[str, float], ...]
    tokens_trained: int


def reward(made: str, wanted: str, semantic: Semantic, gamma: float, z0: int) -> float:
    """r = gamma * r_sem + (1 - gamma) * r_abs, in [0, 1] (paper, section 4). z0 counts characters."""
    z = Levenshtein.distance(made, wanted)
    r_abs = 1 - z / max(len(made), len(wanted), 1) if z <= z0 else 0.0
    return gamma * semantic(made, wanted) + (1 - gamma) * r_abs


def compose(rows: Sequence[Row], config: SeedingConfig) -> list[Row]:
    """`steps` batches in a row, every one with its share of each kind there is; tonight's facts fill what is left."""
    rng = random.Random(config.seed)
    decks: dict[RowKind, list[Row]] = {
        kind: [r for r in rows if r.kind is kind] for kind in RowKind
    }
    drawn: dict[RowKind, list[Row]] = {kind: [] for kind in RowKind}

    def draw(kind: RowKind) -> Row:
        if not drawn[kind]:  # every row once before any row twice
            drawn[kind] = rng.sample(decks[kind], len(decks[kind]))
        return drawn[kind].pop()

    shares = {
        RowKind.NEVER_SAID: config.never_said,
        RowKind.REHEARSAL: config.rehearsal,
        RowKind.READING: config.reading,
    }
    counts = {
        kind: int(share * config.batch + 1e-9) if decks[kind] else 0
        for kind, share in shares.items()
    }  # rounded down: facts keep theirs
    counts[RowKind.FACT] = config.batch - sum(counts.values())
    out = []
    for _ in range(config.steps):
        batch = [draw(kind) for kind, n in counts.items() for _ in range(n)]
        rng.shuffle(batch)
        out += batch
    return out


class SeedingTrainer(DistillationTrainer):  # type: ignore[misc]
    """TRL's trainer with a context per view, off-policy rows, and the imitation reward. Single process."""

    def __init__(
        self,
        local: LocalModel,
        before: tuple[str, ...],
        config: SeedingConfig,
        semantic: Semantic,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=local.model, processing_class=local.tokenizer, **kwargs)
        self.local, self.before = local, before
        self.seeding, self.semantic = config, semantic
        self.rng = random.Random(config.seed)
        self.tokens_trained = 0
        self.as_taught: deque[bool] = deque(
            maxlen=_LAST * config.batch
        )  # of the last rows, whether the student would say the same, word for word
        self.taught: dict[
            int, torch.Tensor
        ] = {}  # by row: the teacher's logits_N_V of its whole answer, as far as there is room

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Decide whether the student answers this batch itself, let it (TRL's rollout), reward it. Lists, one entry a row."""
        completions = [list(x["answer_ids"]) for x in inputs]
        cuts = [-1] * len(
            inputs
        )  # -1: the teacher's answer; else the length of the prefix that was given
        on_policy = self.rng.random() < self.seeding.lambda_
        on = [
            i
            for i, x in enumerate(inputs)
            if on_policy and x["kind"] != RowKind.READING and not x["certain"]
        ]
        rewards = torch.zeros(len(inputs))
        if on:
            for i in on:
                cuts[i] = self.rng.randrange(len(completions[i]))
            prompts = [[*inputs[i]["student_ids"], *completions[i][: cuts[i]]] for i in on]
            for i, made in zip(on, self._generate_single_turn(prompts, None, {}), strict=True):
                wanted = completions[i]
                self.local.tokens_generated += len(made)
                completions[i] = wanted[: cuts[i]] + made
                texts = [
                    str(self.local.tokenizer.decode(c, skip_special_tokens=True)).strip()
                    for c in (completions[i], wanted)
                ]
                rewards[i] = reward(
                    texts[0], texts[1], self.semantic, self.seeding.gamma, self.seeding.z0
                )
        advantages = torch.zeros(len(inputs))
        if len(on) > 1:
            others = (rewards[on].sum() - rewards[on]) / (len(on) - 1)
            advantages[on] = rewards[on] - others
            self._metrics["train"]["reward"].append(rewards[on].mean().item())
        trained = sum(len(c) - max(cut, 0) for c, cut in zip(completions, cuts, strict=True))
        self.tokens_trained += trained
        return {
            "advantage": advantages,  # first: TRL measures the batch by the first value
            "student_ids": [list(x["student_ids"]) for x in inputs],
            "teacher_ids": [list(x["teacher_ids"]) for x in inputs],
            "row": [x["row"] for x in inputs],
            "kind": [x["kind"] for x in inputs],
            "certain": [x["certain"] for x in inputs],
            "completion_ids": completions,
            "cut": cuts,
            "num_items_in_batch": torch.tensor(float(trained), device=self.accelerator.device),
        }

    def _compute_loss(
        self, student: Any, inputs: dict[str, Any], items: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        completions = inputs["completion_ids"]
        with torch.no_grad():
            teacher_N_V = self._teacher(inputs)
        student_N_V = self.local.logits(inputs["student_ids"], completions)
        device = student_N_V.device
        sampled_N = torch.tensor([t for c in completions for t in c], device=device)
        same = torch.split(student_N_V.argmax(-1) == sampled_N, [len(c) for c in completions])
        if (
            max(inputs["cut"]) < 0
        ):  # where the student completes, nearly all that is left to count is reading
            self.as_taught += [bool(s.all()) for s in same]
        taught_N, advantage_N = [], []
        for completion, cut, advantage in zip(
            completions, inputs["cut"], inputs["advantage"].tolist(), strict=True
        ):
            given = max(cut, 0)  # what the student was given is not its own
            taught_N += [False] * given + [True] * (len(completion) - given)
            advantage_N += [advantage] * len(completion)
        taught = torch.tensor(taught_N, device=device)
        student_N_V, teacher_N_V = student_N_V[taught].float(), teacher_N_V[taught].float()
        divergence = GKDTrainer.generalized_jsd_loss(
            student_N_V[None], teacher_N_V[None], beta=self.seeding.beta, reduction="sum"
        )
        log_N_V = student_N_V.log_softmax(-1)
        advantages = torch.tensor(advantage_N, device=device)[taught]
        imitation = (advantages * log_N_V.gather(-1, sampled_N[taught][:, None])[:, 0]).sum()
        count = taught.sum()
        loss = (self.seeding.alpha * divergence - (1 - self.seeding.alpha) * imitation) / (
            items if items is not None else count
        )
        entropy = -(log_N_V.exp() * log_N_V).sum().detach()
        return loss, entropy, count

    @torch.no_grad()
    def teach(self, rows: Sequence[dict[str, Any]]) -> None:
        """Have the teachers read every distinct row once, rows of like length together, as many as there is room for."""
        room = _TAUGHT_BYTES
        distinct = sorted(
            {x["row"]: x for x in rows if not x["certain"]}.values(),
            key=lambda x: len(x["teacher_ids"]),
        )
        for experts in {(), self.before}:
            mine = [x for x in distinct if self._taught_by(x["kind"]) == experts]
            for i in range(0, len(mine), _TAUGHT_AT_ONCE):
                some = mine[i : i + _TAUGHT_AT_ONCE]
                parts = self._logits(
                    experts, [x["teacher_ids"] for x in some], [x["answer_ids"] for x in some]
                )
                room -= sum(p.nbytes for p in parts)
                if room < 0:
                    return
                self.taught |= {x["row"]: p for x, p in zip(some, parts, strict=True)}

    def _teacher(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Logits_N_V of each row's own teacher."""
        rows = range(len(inputs["kind"]))
        parts = {
            r: self.taught[inputs["row"][r]]
            for r in rows
            if inputs["cut"][r] < 0 and inputs["row"][r] in self.taught
        }
        parts |= {
            r: self._certain(inputs["completion_ids"][r]) for r in rows if inputs["certain"][r]
        }
        for experts in {(), self.before}:
            if members := [
                r for r in rows if r not in parts and self._taught_by(inputs["kind"][r]) == experts
            ]:
                made = self._logits(
                    experts,
                    [inputs["teacher_ids"][r] for r in members],
                    [inputs["completion_ids"][r] for r in members],
                )
                parts |= dict(zip(members, made, strict=True))
        return torch.cat([parts[r] for r in rows])

    def _taught_by(self, kind: str) -> tuple[str, ...]:
        """The base, or for rehearsal the model as it was this evening."""
        return self.before if kind == RowKind.REHEARSAL else ()

    def _logits(
        self,
        experts: tuple[str, ...],
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
    ) -> tuple[torch.Tensor, ...]:
        with self.local.view(experts):
            return torch.split(
                self.local.logits(prompts, completions), [len(c) for c in completions]
            )

    def _certain(self, completion: Sequence[int]) -> torch.Tensor:
        """Logits_N_V of a teacher that says this and nothing else."""
        ids = torch.tensor(completion, device=self.accelerator.device)
        return _CERTAIN * torch.nn.functional.one_hot(ids, self.local.vocabulary).float()


class _Report(TrainerCallback):  # type: ignore[misc]
    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.curve: list[dict[str, float]] = []

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "loss" in logs:
            rewarded = (
                {"reward": float(logs["reward"])} if "reward" in logs else {}
            )  # none of the batches since was on-policy
            self.curve.append(
                {"step": float(state.global_step), "loss": float(logs["loss"]), **rewarded}
            )
            if self.progress:
                self.progress(state.global_step, state.max_steps, float(logs["loss"]))


class _StopEarly(TrainerCallback):  # type: ignore[misc]
    def __init__(self, as_taught: deque[bool], share: float) -> None:
        self.as_taught, self.share = as_taught, share

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        full = len(self.as_taught) == self.as_taught.maxlen
        if self.share and full and sum(self.as_taught) >= self.share * len(self.as_taught):
            control.should_training_stop = True


def seed(
    local: LocalModel,
    expert: str,
    before: tuple[str, ...],
    rows: Sequence[Row],
    config: SeedingConfig,
    semantic: Semantic,
    progress: Progress | None = None,
    accumulation: int = 1,
    absorbed: Sequence[str] = (),
) -> Seeded:
    """Train `expert`, with the experts of `before` on beside it but for those it absorbs. Nothing else changes.

    Args:
        local: the model; `expert` was added to it.
        before: the experts that were live this evening.
        rows: what to teach, of the four kinds.
        config: as in the paper; `accumulation` splits `config.batch` into that many passes.
        semantic: the frozen reward model.
        progress: called with (step, steps, loss).
        absorbed: experts of a faster level that `expert` is to replace: on in the teacher of rehearsal, off in the student.
    """

    def ids(number: int, row: Row) -> dict[str, Any]:
        return {
            "prompt": "",  # TRL's column; the ids below are what is used
            "row": number,
            "kind": row.kind.value,
            "certain": row.certain,
            "student_ids": local.prompt_ids(row.student),
            "teacher_ids": local.prompt_ids(row.teacher),
            "answer_ids": local.answer_ids(row.answer),
        }

    drawn = compose(rows, config)
    made = {
        i: ids(number, row) for number, (i, row) in enumerate({id(r): r for r in drawn}.items())
    }
    report = _Report(progress)
    beside = tuple(e for e in before if e not in absorbed)
    with tempfile.TemporaryDirectory() as scratch, local.view((*beside, expert), training=expert):
        trainer = SeedingTrainer(
            local,
            before,
            config,
            semantic,
            train_dataset=Dataset.from_list([made[id(r)] for r in drawn]),
            callbacks=[report],
            args=DistillationConfig(
                output_dir=scratch,
                max_steps=config.steps,
                per_device_train_batch_size=config.batch // accumulation,
                gradient_accumulation_steps=accumulation,
                learning_rate=config.lr,
                lr_scheduler_type="linear",
                warmup_steps=min(10, config.steps // 5),
                max_grad_norm=1.0,
                weight_decay=0.0,
                max_completion_length=config.max_new_tokens,
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
            ),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_StopEarly(trainer.as_taught, config.stop_at))
        trainer.teach(list(made.values()))
        trainer.train()
    local.model.eval()
    return Seeded(tuple(report.curve), trainer.tokens_trained)
