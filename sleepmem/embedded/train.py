"""Train the embedded model from scratch: `python -m sleepmem.embedded.train OUT`. One seed, resumable, CPU or GPU.

Letters: B sequences, T tokens, N answer tokens, V vocabulary, D width.

What it takes on a small machine (LAB.md holds the runs): a curriculum (few memories first, or copying never starts), many questions per
sequence, loss on answers only, the vocabulary projected at answer positions only, a small model.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sleepmem.embedded import links
from sleepmem.embedded.tokenizer import ROLES, VOCABULARY, train_tokenizer
from sleepmem.embedded.world import Conversation, conversation

POOL = 8  # batches drawn together and sorted by length, so that little is padded


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of one run; the defaults made the shipped weights."""

    seed: int = 0
    steps: int = 5_000
    polish: int = 2_000  # further steps on hard conversations (world.py), from half the learning rate down to nothing
    link: int = 4_000  # further steps, half of them on chains and inverse questions (links.py), with the same slope
    batch: int = 48
    width: int = 128
    layers: int = 4
    heads: int = 4
    lr: float = 4e-3
    muon_lr: float = 0.02
    warmup: int = 100
    decay: float = 0.3  # last share of the steps, in which the learning rate falls to a twentieth
    curriculum: tuple[tuple[float, int], ...] = ((0.06, 1), (0.14, 2), (0.3, 4), (1.0, 8))  # until this share of the steps: most memories

    @property
    def last(self) -> int:
        return self.steps + self.polish + self.link

    def talk(self, rng: random.Random, step: int) -> Conversation:
        """A conversation of the kind that this step trains."""
        if step >= self.steps + self.polish and rng.random() < 0.5:
            return links.conversation(rng, self.most(self.steps))
        return conversation(rng, self.most(min(step, self.steps)), step >= self.steps)

    def most(self, step: int) -> int:
        return next(most for until, most in self.curriculum if step <= until * self.steps)

    def rate(self, step: int) -> float:
        """Warm-up, stable, linear decay; then a lower slope for the polish, and one more for the links."""
        if step >= self.steps + self.polish:
            return 0.5 * (self.last - step) / self.link
        if step >= self.steps:
            return 0.5 * (self.steps + self.polish - step) / self.polish
        left = (self.steps - step) / (self.decay * self.steps)
        return min(1.0, (step + 1) / self.warmup, max(0.05, left))


def build(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
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


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, start: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (ids_B_T, labels_B_T) from step `start` on; the draw depends on the seed and the step alone, so a resumed run sees the same."""
    roles = {role: tokenizer.convert_tokens_to_ids(token) for role, token in ROLES.items()}
    bos, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    for pool in range(start // POOL, 1 << 60):
        rng = random.Random(f"{recipe.seed}/{pool}")
        step = pool * POOL
        talks = [recipe.talk(rng, step) for _ in range(recipe.batch * POOL)]
        texts = [m["content"] for talk in talks for m in talk.messages]
        encoded = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
        rows = []
        for talk in talks:
            ids, labels = [bos], [-100]
            for m in talk.messages:
                x = next(encoded)
                taught = m["role"] == "assistant"
                ids += [roles[m["role"]], *x, *([end] if taught else [])]
                labels += [-100, *([*x, end] if taught else [-100] * len(x))]
            rows.append((ids, labels))
        rows.sort(key=lambda row: len(row[0]))
        groups = [rows[i : i + recipe.batch] for i in range(0, len(rows), recipe.batch)]
        rng.shuffle(groups)
        for i, group in enumerate(groups):
            if pool * POOL + i < start:
                continue
            width = max(len(ids) for ids, _ in group)
            yield (
                torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in group]),
                torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in group]),
            )


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal by Newton-Schulz (Jordan et al. 2024), in float32: torch.optim.Muon's bfloat16 is ten times slower on a CPU."""

    def __init__(self, params: list[torch.nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.05) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            for shape, params in shapes.items():
                grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in params]
                for p, grad in zip(params, grads, strict=True):
                    self.state[p].setdefault("momentum", torch.zeros_like(p)).lerp_(grad, 1 - group["momentum"])
                x = torch.stack([grad.lerp(self.state[p]["momentum"], group["momentum"]) for p, grad in zip(params, grads, strict=True)])
                if wide := shape[0] > shape[1]:
                    x = x.mT
                x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
                for _ in range(5):
                    gram = x @ x.mT
                    x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
                if wide:
                    x = x.mT
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(params, x, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=scale)


def optimizers(recipe: Recipe, model: torch.nn.Module) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices inside the blocks, AdamW for embeddings and norms, each with its peak learning rate."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    if recipe.muon_lr <= 0:
        return [(torch.optim.AdamW(matrices + others, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.05), recipe.lr)]
    return [
        (Muon(matrices, lr=recipe.muon_lr), recipe.muon_lr),
        (torch.optim.AdamW(others, lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.0), recipe.lr),
    ]


def save(folder: Path, step: int, model: LlamaForCausalLM, opts: list[tuple[torch.optim.Optimizer, float]]) -> None:
    """Weights, optimizer state and step, as safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{k}": v.contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    for i, (opt, _) in enumerate(opts):
        for j, state in opt.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{j}.{k}": v.contiguous() for k, v in state.items()}
    save_file(tensors, folder / "new.safetensors", {"step": str(step)})
    (folder / "new.safetensors").replace(folder / "state.safetensors")
    (folder / "step.json").write_text(json.dumps({"step": step}))


def restore(folder: Path, model: LlamaForCausalLM, opts: list[tuple[torch.optim.Optimizer, float]]) -> int:
    """Load what `save` wrote; returns the step to go on with, 0 when there is nothing."""
    if not (folder / "step.json").exists():
        return 0
    tensors = load_file(folder / "state.safetensors")
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}, strict=False)
    for i, (opt, _) in enumerate(opts):
        whole: dict[str, Any] = opt.state_dict()
        for key, tensor in tensors.items():
            if key.startswith(f"optimizer.{i}."):
                _, _, j, name = key.split(".", 3)
                whole["state"].setdefault(int(j), {})[name] = tensor
        opt.load_state_dict(whole)
    return int(json.loads((folder / "step.json").read_text())["step"])


def train(recipe: Recipe, out: Path, compiled: bool = True) -> None:
    """Train, or go on with the training found in `out` and its tokenizer; the finished model and tokenizer lie in `out` itself."""
    torch.set_num_threads(max(1, torch.get_num_threads()))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    begun = (out / "tokenizer.json").exists()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out) if begun else train_tokenizer(recipe.seed)
    model = build(recipe, tokenizer).to(device)  # type: ignore[arg-type]
    model.config.use_cache = False
    opts = optimizers(recipe, model)
    first = restore(out / "state", model, opts)
    body = torch.compile(model.model, dynamic=True) if compiled else model.model
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {json.dumps(asdict(recipe))}, from step {first}", flush=True)
    began, tokens, mean = time.time(), 0, 0.0
    stream = batches(recipe, tokenizer, first)
    for step in range(first, recipe.last):
        for opt, peak in opts:
            for group in opt.param_groups:
                group["lr"] = peak * recipe.rate(step)
        ids_B_T, labels_B_T = (x.to(device) for x in next(stream))
        keep_B_T = labels_B_T[:, 1:] != -100
        hidden_N_D = body(input_ids=ids_B_T).last_hidden_state[:, :-1][keep_B_T]
        loss = F.cross_entropy(model.lm_head(hidden_N_D), labels_B_T[:, 1:][keep_B_T])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for opt, _ in opts:
            opt.step()
            opt.zero_grad()
        tokens += ids_B_T.numel()
        mean += loss.item() / 50
        if (step + 1) % 50 == 0:
            spent = time.time() - began
            at = f"step {step + 1} memories {recipe.most(min(step, recipe.steps))}"
            print(f"{at} loss {mean:.3f} tokens {tokens:,} s {spent:.0f} tok/s {tokens / spent:.0f}", flush=True)
            mean = 0.0
        if (step + 1) % 250 == 0 or step + 1 == recipe.last:
            save(out / "state", step + 1, model, opts)
            model.config.use_cache = True
            model.save_pretrained(out)
            model.config.use_cache = False
            tokenizer.save_pretrained(out)


def main(
    out: Annotated[Path, typer.Argument(help="Folder for the model; a run found there goes on.")],
    seed: int = Recipe.seed,
    steps: int = Recipe.steps,
    polish: int = Recipe.polish,
    link: int = Recipe.link,
    muon_lr: Annotated[float, typer.Option(help="0 trains everything with AdamW.")] = Recipe.muon_lr,
    lr: float = Recipe.lr,
    compiled: bool = True,
) -> None:
    train(Recipe(seed=seed, steps=steps, polish=polish, link=link, muon_lr=muon_lr, lr=lr), out, compiled)


if __name__ == "__main__":
    typer.run(main)
