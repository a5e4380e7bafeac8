"""Train the embedded model from scratch: `python -m sleepmem.embedded.train OUT`.

One seed, resumable, CPU or GPU. What it takes on a small machine (`docs/lab/` holds the runs): a
curriculum (few memories first, or copying never starts), many questions per sequence, loss on
answers only, the vocabulary projected at answer positions only, a small model.

Letters:

| letter | dimension |
|---|---|
| B | sequences of a batch |
| T | tokens of a sequence |
| N | answer tokens of a batch |
| D | width of the model |
| V | vocabulary |
| M | matrices of one shape |
| R, C | rows and columns of a matrix |
| S, L | its shorter and its longer side |
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
import typer
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sleepmem.embedded import links
from sleepmem.embedded.tokenizer import ROLES, VOCABULARY, train_tokenizer
from sleepmem.embedded.world import Conversation, conversation

# Batches drawn together and sorted by length, so that little is padded.
POOL = 8
# The label of a token that carries no loss.
_IGNORED = -100
_STEPS_PER_LINE = 50
_STEPS_PER_SAVE = 250


class Stage(NamedTuple):
    """Until a share of the steps, conversations hold at most so many memories."""

    until: float
    memories: int


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of one run; the defaults made the shipped weights.

    Three stages follow each other. `steps` go through the curriculum. `polish` more train on hard
    conversations (`world`), from half the learning rate down to nothing. `link` more train half on
    chains and inverse questions (`links`), with the same slope.

    `decay` is the last share of `steps`, in which the learning rate falls to a twentieth. A
    `muon_lr` of 0 trains everything with AdamW.
    """

    seed: int = 0
    steps: int = 5_000
    polish: int = 2_000
    link: int = 4_000
    batch: int = 48
    width: int = 128
    layers: int = 4
    heads: int = 4
    lr: float = 4e-3
    muon_lr: float = 0.02
    warmup: int = 100
    decay: float = 0.3
    curriculum: tuple[Stage, ...] = (Stage(0.06, 1), Stage(0.14, 2), Stage(0.3, 4), Stage(1.0, 8))

    @property
    def last(self) -> int:
        """How many steps the whole run has."""
        return self.steps + self.polish + self.link

    def talk(self, rng: random.Random, step: int) -> Conversation:
        """A conversation of the kind that this step trains."""
        if step >= self.steps + self.polish and rng.random() < 0.5:
            return links.conversation(rng, self.most(self.steps))
        most = self.most(min(step, self.steps))
        return conversation(rng, most, hard=step >= self.steps)

    def most(self, step: int) -> int:
        """The most memories of a conversation at `step`, which is at most `steps`."""
        return next(stage.memories for stage in self.curriculum if step <= stage.until * self.steps)

    def rate(self, step: int) -> float:
        """The share of the peak learning rate at `step`.

        Warm-up, stable, linear decay; then a lower slope for the polish, and one more for the
        links.
        """
        if step >= self.steps + self.polish:
            return 0.5 * (self.last - step) / self.link
        if step >= self.steps:
            return 0.5 * (self.steps + self.polish - step) / self.polish
        left = (self.steps - step) / (self.decay * self.steps)
        return min(1.0, (step + 1) / self.warmup, max(0.05, left))


class Batch(NamedTuple):
    """Token ids, padded at the end, and their labels, which are -100 but for the answers."""

    ids_B_T: torch.Tensor
    labels_B_T: torch.Tensor


class ScheduledOptimizer(NamedTuple):
    """An optimizer, and the learning rate of which it gets a share at every step."""

    optimizer: torch.optim.Optimizer
    peak_lr: float


class _Row(NamedTuple):
    """One conversation as token ids, and the label of each."""

    ids: list[int]
    labels: list[int]


def build(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A model with random weights, the same for the same seed."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=recipe.width,
            intermediate_size=recipe.width * 8 // 3 // 32 * 32,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, *, start: int) -> Iterator[Batch]:
    """Endless batches from step `start` on.

    The draw depends on the seed and the step alone, so a resumed run sees the same.
    """
    for pool in itertools.count(start // POOL):
        rng = random.Random(f"{recipe.seed}/{pool}")
        first_step = pool * POOL
        talks = [recipe.talk(rng, first_step) for _ in range(recipe.batch * POOL)]

        # Rows of like length go together; the batches of a pool come in random order.
        rows = _tokenize(tokenizer, talks)
        rows.sort(key=lambda row: len(row.ids))
        groups = [rows[at : at + recipe.batch] for at in range(0, len(rows), recipe.batch)]
        rng.shuffle(groups)

        for step, group in enumerate(groups, first_step):
            if step >= start:
                yield _padded(group, tokenizer.pad_token_id)


def _tokenize(tokenizer: PreTrainedTokenizerFast, talks: Sequence[Conversation]) -> list[_Row]:
    """The conversations as the chat template renders them; only what an assistant says is taught.

    All texts are tokenized in one call, which takes half the time that one call for each would.
    """
    roles = {role: tokenizer.convert_tokens_to_ids(token) for role, token in ROLES.items()}
    bos, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    texts: list[str] = []
    for talk in talks:
        texts += [message["content"] for message in talk.messages]
    tokenized = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])

    rows: list[_Row] = []
    for talk in talks:
        ids, labels = [bos], [_IGNORED]
        for message in talk.messages:
            content = next(tokenized)
            ids += [roles[message["role"]], *content]
            labels.append(_IGNORED)
            # The end of an answer is taught with it; what others say has no end mark.
            if message["role"] == "assistant":
                ids.append(end)
                labels += [*content, end]
            else:
                labels += [_IGNORED] * len(content)
        rows.append(_Row(ids, labels))
    return rows


def _padded(rows: Sequence[_Row], pad: int) -> Batch:
    """The rows as one batch, as wide as the longest of them."""
    width = max(len(row.ids) for row in rows)
    ids: list[list[int]] = []
    labels: list[list[int]] = []
    for row in rows:
        missing = width - len(row.ids)
        ids.append(row.ids + [pad] * missing)
        labels.append(row.labels + [_IGNORED] * missing)
    return Batch(torch.tensor(ids), torch.tensor(labels))


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal by Newton-Schulz (Jordan et al. 2024), in float32.

    torch.optim.Muon works in bfloat16, which is ten times slower on a CPU. Every parameter must be
    a matrix.
    """

    def __init__(
        self,
        params: list[torch.nn.Parameter],
        lr: float,
        *,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix; `closure` is not called."""
        for group in self.param_groups:
            # Matrices of one shape go through the iteration together.
            by_shape: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for matrix in group["params"]:
                by_shape.setdefault(matrix.shape, []).append(matrix)
            for (rows, columns), matrices in by_shape.items():
                updates_M_R_C = _orthogonal(self._directions(matrices, group["momentum"]))
                # The taller an orthogonal matrix, the smaller its entries: this makes up for it.
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                for matrix, update_R_C in zip(matrices, updates_M_R_C, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.sub_(update_R_C, alpha=scale)

    def _directions(self, matrices: list[torch.nn.Parameter], momentum: float) -> torch.Tensor:
        """Nesterov's directions (M, R, C); a matrix without a gradient counts as one with zeros."""
        directions: list[torch.Tensor] = []
        for matrix in matrices:
            grad_R_C = matrix.grad if matrix.grad is not None else torch.zeros_like(matrix)
            mean_R_C = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            mean_R_C.lerp_(grad_R_C, 1 - momentum)
            directions.append(grad_R_C.lerp(mean_R_C, momentum))
        return torch.stack(directions)


def _orthogonal(matrices_M_R_C: torch.Tensor) -> torch.Tensor:
    """Each matrix with all its singular values near 1, by five steps of Newton-Schulz."""
    # The product with itself is smallest when the shorter side comes first.
    tall = matrices_M_R_C.shape[1] > matrices_M_R_C.shape[2]
    x_M_S_L = matrices_M_R_C.mT if tall else matrices_M_R_C
    x_M_S_L = x_M_S_L / (x_M_S_L.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram_M_S_S = x_M_S_L @ x_M_S_L.mT
        x_M_S_L = (
            3.4445 * x_M_S_L + (-4.7750 * gram_M_S_S + 2.0315 * gram_M_S_S @ gram_M_S_S) @ x_M_S_L
        )
    orthogonal_M_R_C: torch.Tensor = x_M_S_L.mT if tall else x_M_S_L
    return orthogonal_M_R_C


def optimizers(recipe: Recipe, model: torch.nn.Module) -> list[ScheduledOptimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings and norms."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        in_block = parameter.ndim == 2 and "embed" not in name
        (matrices if in_block else others).append(parameter)

    # Without Muon, AdamW takes over its decay of the weights.
    muon = recipe.muon_lr > 0
    adam = torch.optim.AdamW(
        others if muon else matrices + others,
        lr=recipe.lr,
        betas=(0.9, 0.98),
        weight_decay=0.0 if muon else 0.05,
    )
    if not muon:
        return [ScheduledOptimizer(adam, recipe.lr)]
    return [
        ScheduledOptimizer(Muon(matrices, recipe.muon_lr), recipe.muon_lr),
        ScheduledOptimizer(adam, recipe.lr),
    ]


def save(
    folder: Path, step: int, *, model: LlamaForCausalLM, scheduled: Sequence[ScheduledOptimizer]
) -> None:
    """Weights, the optimizers' states and the step, as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        # The output layer is the embeddings once more.
        if name != "lm_head.weight":
            tensors[f"model.{name}"] = tensor.contiguous()
    for index, (optimizer, _) in enumerate(scheduled):
        for parameter, state in optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                tensors[f"optimizer.{index}.{parameter}.{name}"] = tensor.contiguous()

    # A run that is killed here still finds the whole state of before.
    save_file(tensors, folder / "new.safetensors", {"step": str(step)})
    (folder / "new.safetensors").replace(folder / "state.safetensors")
    (folder / "step.json").write_text(json.dumps({"step": step}))


def restore(
    folder: Path, model: LlamaForCausalLM, *, scheduled: Sequence[ScheduledOptimizer]
) -> int:
    """Load what `save` wrote; returns the step to go on with, 0 when there is nothing."""
    if not (folder / "step.json").exists():
        return 0
    tensors = load_file(folder / "state.safetensors")
    weights: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        if key.startswith("model."):
            weights[key.removeprefix("model.")] = tensor
    model.load_state_dict(weights, strict=False)

    # An optimizer of which nothing was saved begins anew.
    for index, (optimizer, _) in enumerate(scheduled):
        prefix = f"optimizer.{index}."
        whole: dict[str, Any] = optimizer.state_dict()
        for key, tensor in tensors.items():
            if key.startswith(prefix):
                parameter, name = key.removeprefix(prefix).split(".", 1)
                whole["state"].setdefault(int(parameter), {})[name] = tensor
        optimizer.load_state_dict(whole)
    return int(json.loads((folder / "step.json").read_text())["step"])


@dataclass(slots=True)
class _Meter:
    """What a run has done since it was begun, and the mean loss of the line to come."""

    began: float = field(default_factory=time.time)
    tokens: int = 0
    mean_loss: float = 0.0

    def add(self, batch: Batch, loss: float) -> None:
        self.tokens += batch.ids_B_T.numel()
        self.mean_loss += loss / _STEPS_PER_LINE

    def print(self, step: int, memories: int) -> None:
        seconds = time.time() - self.began
        speed = f"tokens {self.tokens:,} s {seconds:.0f} tok/s {self.tokens / seconds:.0f}"
        line = f"step {step} memories {memories} loss {self.mean_loss:.3f} {speed}"
        print(line, flush=True)
        self.mean_loss = 0.0


def train(recipe: Recipe, out: Path, *, compiled: bool = True) -> None:
    """Train, or go on with the training found in `out` and its tokenizer.

    The finished model and tokenizer lie in `out` itself, what a later run needs in `out/state`.
    """
    # Once the number of threads is set, MKL does not lower it by itself.
    torch.set_num_threads(torch.get_num_threads())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    begun = (out / "tokenizer.json").exists()
    tokenizer = (
        PreTrainedTokenizerFast.from_pretrained(out) if begun else train_tokenizer(recipe.seed)
    )
    model = build(recipe, tokenizer).to(device)  # type: ignore[arg-type]
    model.config.use_cache = False
    scheduled = optimizers(recipe, model)
    first = restore(out / "state", model, scheduled=scheduled)
    body = torch.compile(model.model, dynamic=True) if compiled else model.model
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{size:,} parameters, {json.dumps(asdict(recipe))}, from step {first}", flush=True)

    meter = _Meter()
    stream = batches(recipe, tokenizer, start=first)
    for step in range(first, recipe.last):
        _set_rates(scheduled, recipe.rate(step))
        batch = Batch(*(tensor.to(device) for tensor in next(stream)))
        loss = _loss(body, model.lm_head, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in scheduled:
            optimizer.step()
            optimizer.zero_grad()

        done = step + 1
        meter.add(batch, loss.item())
        if done % _STEPS_PER_LINE == 0:
            meter.print(done, recipe.most(min(step, recipe.steps)))
        if done % _STEPS_PER_SAVE == 0 or done == recipe.last:
            save(out / "state", done, model=model, scheduled=scheduled)
            _write(out, model, tokenizer)


def _set_rates(scheduled: Sequence[ScheduledOptimizer], share: float) -> None:
    for optimizer, peak_lr in scheduled:
        for group in optimizer.param_groups:
            group["lr"] = peak_lr * share


def _loss(body: Callable[..., Any], head: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The mean cross-entropy of the answer tokens, each predicted from the token before it."""
    labels_B_T = batch.labels_B_T[:, 1:]
    taught_B_T = labels_B_T != _IGNORED
    hidden_B_T_D = body(input_ids=batch.ids_B_T).last_hidden_state[:, :-1]
    logits_N_V = head(hidden_B_T_D[taught_B_T])
    return F.cross_entropy(logits_N_V, labels_B_T[taught_B_T])


def _write(out: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """The model as others load it: they want the cache that training does without."""
    model.config.use_cache = True
    model.save_pretrained(out)
    model.config.use_cache = False
    tokenizer.save_pretrained(out)
    (out / "profile.json").write_text('{"notes": "whole", "heat": 1.0, "lr": 3e-3}\n')


def main(  # noqa: PLR0913 - the options of a command
    out: Annotated[Path, typer.Argument(help="Folder for the model; a run found there goes on.")],
    *,
    seed: int = Recipe.seed,
    steps: int = Recipe.steps,
    polish: int = Recipe.polish,
    link: int = Recipe.link,
    muon_lr: Annotated[
        float, typer.Option(help="0 trains everything with AdamW.")
    ] = Recipe.muon_lr,
    lr: float = Recipe.lr,
    compiled: bool = True,
) -> None:
    """Train the embedded model from scratch."""
    recipe = Recipe(seed=seed, steps=steps, polish=polish, link=link, muon_lr=muon_lr, lr=lr)
    train(recipe, out, compiled=compiled)


if __name__ == "__main__":
    typer.run(main)
