"""LocalModel: a frozen base model and its experts. The only file that knows PEFT.

A view names the experts that are on; none on is the base. Teacher and student are two views of one model. An expert is a LoRA adapter on
the MLP blocks (paper, section 3), saved as safetensors in a folder of its own, written beside and renamed, never overwritten.

Letters: R rows, T tokens, N completion tokens of all rows, V vocabulary.

Departs from the paper: experts are added when a night needs them, not allocated and masked beforehand. The router knows no parameters: of the frozen
experts of a view, each token goes through all, or through the `experts_per_token` that would add most to it in a layer.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LogitsProcessorList,
    TextIteratorStreamer,
)

from sleepmem.errors import EpisodeError, ExpertError, FolderError, ModelError
from sleepmem.model.adapters import Copies, multiply_out, routing
from sleepmem.model.generation import Reply, Watch, buckets, pad
from sleepmem.stores.expert_folder import check_expert, write_checksums

Messages = Sequence[dict[str, str]]
_SUMS = 4  # evening and night of one owner, or the owners who talk at the moment
_MLP = ("mlp", "feed_forward", "ffn", "block_sparse_moe")


class LocalModel:
    """A base model with named experts. Calls from several threads take turns.

    Args:
        name: hub id or folder.
        device: the first GPU by default, else the CPU.
        experts_per_token: frozen experts that a token goes through in a layer; 0: all of them, summed.

    Raises:
        ModelError: the model cannot be loaded, or its tokenizer has no chat template.
    """

    def __init__(
        self, name: str | Path, device: str | None = None, experts_per_token: int = 0
    ) -> None:
        self.name, self.experts_per_token = str(name), experts_per_token
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._lock = threading.RLock()
        self._on: tuple[str, ...] = ()
        self._training: str | None = None
        self._views = 0  # inside each other
        self._told: tuple[tuple[str, ...], str | None] | None = (
            None  # the view that PEFT was told last: telling it walks every weight of every expert
        )
        self._sums: dict[
            str, tuple[str, ...]
        ] = {}  # adapters that stand for several frozen experts: one low-rank product, not one for each
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(
                self.name, padding_side="left", trust_remote_code=False
            )
            base = AutoModelForCausalLM.from_pretrained(
                self.name, trust_remote_code=False, use_safetensors=True, dtype="auto"
            )
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as e:
            raise ModelError(
                f"model {self.name!r} could not be loaded ({str(e).splitlines()[0]}). "
                "Pass a hub id, or a folder made by save_pretrained that holds safetensors weights and a tokenizer."
            ) from e
        if not self.tokenizer.chat_template:
            raise ModelError(
                f"model {self.name!r} has no chat template, so it cannot be talked to. Use an instruct model, or save a chat template with its tokenizer."
            )
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.base: Any = base.to(self.device).eval()  # type: ignore[arg-type]
        for p in self.base.parameters():
            p.requires_grad_(False)
        self._targets = _mlp_layers(self.base)
        ends = self.base.generation_config.eos_token_id or []
        self._ends = [
            self.tokenizer.eos_token_id,
            self.tokenizer.pad_token_id,
            *(ends if isinstance(ends, list) else [ends]),
        ]
        self.peft: PeftModel | None = None
        self._copies: Copies | None = None
        self.tokens_generated = 0  # so far, in whole answers

    # Experts

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts in memory."""
        held = (
            list(self.peft.peft_config) if self.peft else []
        )  # a copy: another thread may add one
        return tuple(n for n in held if n not in self._sums)

    @property
    def model(self) -> Any:
        """The model in the view that is on."""
        self._tell()
        return self.peft or self.base

    @property
    def context_length(self) -> int:
        """Most tokens the model can take."""
        return int(
            getattr(self.base.config.get_text_config(), "max_position_embeddings", 0)
            or self.tokenizer.model_max_length
        )

    @property
    def vocabulary(self) -> int:
        """Width of the logits."""
        return int(self.base.get_output_embeddings().weight.shape[0])

    def add_expert(self, name: str, rank: int, seed: int = 0) -> None:
        """A new expert that changes nothing yet (B is zero)."""
        config = LoraConfig(
            r=rank, lora_alpha=2 * rank, target_modules=self._targets, task_type="CAUSAL_LM"
        )
        with self._lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.peft is None:
                self.peft = get_peft_model(self.base, config, adapter_name=name)
            else:
                self.peft.add_adapter(name, config)
            self._told = None

    def load_expert(self, name: str, folder: Path) -> None:
        """Load the expert that `save_expert` wrote; nothing to do when it is in memory.

        Raises:
            ExpertError: its files are missing or damaged.
        """
        if name in self.experts:
            return
        check_expert(folder)
        with self._lock:
            try:
                if self.peft is None:
                    self.peft = PeftModel.from_pretrained(self.base, str(folder), adapter_name=name)
                else:
                    self.peft.load_adapter(str(folder), adapter_name=name)
            except (RuntimeError, ValueError) as e:
                raise ExpertError(
                    f"expert {name} does not fit model {self.name!r} ({str(e).splitlines()[0]}); it was trained on another. Open the folder with that model."
                ) from e
            self._told = None

    def save_expert(self, name: str, folder: Path) -> None:
        """Write it to a temporary folder beside `folder`, then rename: there is a whole expert, or none.

        Raises:
            FolderError: it could not be written; nothing is left behind.
        """
        assert self.peft is not None
        beside = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            self.peft.save_pretrained(
                str(beside), selected_adapters=[name], safe_serialization=True
            )
            (beside / "README.md").unlink(missing_ok=True)
            for file in (beside / name).iterdir():
                file.rename(beside / file.name)
            (beside / name).rmdir()
            write_checksums(beside)
            for file in beside.iterdir():
                with open(file, "rb") as f:
                    os.fsync(f.fileno())
            beside.rename(folder)
        except OSError as e:
            shutil.rmtree(beside, ignore_errors=True)
            raise FolderError(
                f"expert {name} could not be written to {folder} ({e.strerror or e}); make room or make the folder writable."
            ) from e

    def drop_expert(self, name: str) -> None:
        """Take it out of memory."""
        with self._lock:
            if self.peft is None or name not in self.experts:
                return
            for total in [t for t, of in self._sums.items() if name in of]:
                self._forget_sum(total)
            if self.experts == (name,):
                self.base = self.peft.unload()
                self.peft = None
                self._on, self._training, self._told = (), None, None
            else:
                self._delete(name)
                self._apply(
                    tuple(n for n in self._on if n != name),
                    None if self._training == name else self._training,
                )
                if self._views:
                    self._tell()

    @contextmanager
    def copies(self, expert: str, count: int, beside: Sequence[str] = ()) -> Iterator[Copies]:
        """Isolated copies of an expert that learn apart from each other in the same passes (`logits` with `copies`); the experts `beside` are on in all."""
        assert self.peft is not None
        layers = [m for m in self.peft.modules() if isinstance(m, LoraLayer) and expert in m.lora_A]
        with self.view(beside):
            self._copies = Copies(layers, expert, count)
            try:
                yield self._copies
            finally:
                self._copies.remove()
                self._copies = None

    @contextmanager
    def view(self, experts: Sequence[str], training: str | None = None) -> Iterator[Any]:
        """The model with exactly these experts on, `training` the only one with gradients; as before on leaving."""
        with self._lock:
            before = self._on, self._training
            self._apply(tuple(experts), training)
            self._views += 1
            try:
                yield self.model
            finally:
                self._views -= 1
                self._apply(*before)
                if self._views:  # else the next to ask for the model will tell
                    self._tell()

    def _apply(self, experts: tuple[str, ...], training: str | None) -> None:
        if experts and self.peft is None:
            raise ExpertError(
                f"no expert is loaded, yet {', '.join(experts)} should be on. Load them first."
            )
        if missing := [n for n in experts if n not in self.experts]:
            raise ExpertError(f"expert {', '.join(missing)} is not in memory. Load it first.")
        self._on, self._training = experts, training

    def _tell(self) -> None:
        """Bring PEFT into the view that is on, if it is in another."""
        if self.peft is None or self._told == (self._on, self._training):
            return
        tuner: Any = self.peft.base_model
        if self._on:
            frozen = tuple(n for n in self._on if n != self._training)
            trained = [n for n in self._on if n == self._training]
            tuner.set_adapter(
                [*([self._sum(frozen)] if len(frozen) > 1 else frozen), *trained],
                inference_mode=True,
            )
            tuner.enable_adapter_layers()
            tuner.set_requires_grad(tuner.active_adapters, False)
            if trained:
                tuner.set_requires_grad(trained)
        else:
            tuner.disable_adapter_layers()
        self._told = self._on, self._training

    def _sum(self, experts: tuple[str, ...]) -> str:
        """The adapter that does what these do together, their matrices side by side; the last few are kept."""
        assert self.peft is not None
        total = "+".join(experts)
        if total not in self._sums:
            for old in list(self._sums)[: len(self._sums) + 1 - _SUMS]:
                self._forget_sum(old)
            tuner: Any = self.peft.base_model
            self._sums[total] = experts
            try:
                tuner.add_weighted_adapter(
                    list(experts), [1.0] * len(experts), total, combination_type="cat"
                )
                layers: list[Any] = [
                    m for m in self.peft.modules() if isinstance(m, LoraLayer) and total in m.lora_A
                ]
                for layer in layers:
                    if not 0 < self.experts_per_token < len(experts):
                        multiply_out(layer, total)
                    else:
                        b_by_expert = layer.lora_B[total].weight.split(
                            [layer.r[e] for e in experts], dim=1
                        )
                        layer.lora_A[total].register_forward_hook(
                            routing(b_by_expert, self.experts_per_token)
                        )  # goes with the adapter
            except BaseException:  # half a sum must not pass for a whole one
                self._forget_sum(total)
                raise
        self._sums[total] = self._sums.pop(total, experts)  # the newest last
        return total

    def _forget_sum(self, total: str) -> None:
        assert self.peft is not None
        del self._sums[total]
        if total in self.peft.peft_config:
            self._delete(total)

    def _delete(self, adapter: str) -> None:
        """Another is made active first: PEFT warns when the active one goes."""
        assert self.peft is not None
        self._told = None
        tuner: Any = self.peft.base_model
        tuner.set_adapter(
            next(n for n in self.peft.peft_config if n != adapter), inference_mode=True
        )
        self.peft.delete_adapter(adapter)

    # Text in, text out

    def prompt_ids(self, messages: Messages) -> list[int]:
        """Token ids of a chat up to where the assistant speaks.

        Raises:
            EpisodeError: it does not fit the model's context.
        """
        text = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=False, enable_thinking=False
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= self.context_length:
            raise EpisodeError(
                f"the conversation has {len(ids)} tokens and the model takes {self.context_length}; "
                "shorten it, split the episode, or use a model with a longer context."
            )
        return ids

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of what an assistant said, with the end of its turn."""
        return [
            *self.tokenizer(text, add_special_tokens=False)["input_ids"],
            self.tokenizer.eos_token_id,
        ]

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def answer(
        self,
        chats: Sequence[Messages],
        experts: Sequence[str] = (),
        max_new_tokens: int = 32,
        **sampling: Any,
    ) -> list[str]:
        """The texts of `reply`."""
        return [r.text for r in self.reply(chats, experts, max_new_tokens, **sampling)]

    @torch.no_grad()
    def reply(
        self,
        chats: Sequence[Messages],
        experts: Sequence[str] = (),
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        seed: int = 0,
        batch: int = 64,
    ) -> list[Reply]:
        """One answer per chat, in order, and how sure the model was; greedy at temperature 0."""
        prompts = [self.prompt_ids(c) for c in chats]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        out = [Reply("", 0.0)] * len(prompts)
        sampling: dict[str, Any] = (
            {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            if temperature
            else {"do_sample": False}
        )
        with self.view(experts) as model, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for i in range(0, len(order), batch):
                rows = order[i : i + batch]
                ids, mask = pad([prompts[r] for r in rows], self.tokenizer.pad_token_id, left=True)
                watch = Watch()
                made = model.generate(
                    input_ids=ids.to(self.device),
                    attention_mask=mask.to(self.device),
                    max_new_tokens=max_new_tokens,
                    pad_token_id=self.tokenizer.pad_token_id,
                    logits_processor=LogitsProcessorList([watch]),
                    **sampling,
                )[:, ids.shape[1] :]
                self.tokens_generated += int((made != self.tokenizer.pad_token_id).sum())
                texts = self.tokenizer.batch_decode(made, skip_special_tokens=True)
                for r, text, confidence in zip(
                    rows, texts, watch.confidence(made, self._ends), strict=True
                ):
                    out[r] = Reply(text.strip(), confidence)
        return out

    def stream(
        self, chat: Messages, experts: Sequence[str], max_new_tokens: int, temperature: float = 0.0
    ) -> Generator[str, None, float]:
        """The answer in pieces, as it is made; returns its confidence (see `Reply`)."""
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        ids = torch.tensor([self.prompt_ids(chat)], device=self.device)
        failed: list[BaseException] = []
        watch = Watch()

        def make() -> None:
            try:
                with self.view(experts) as model, torch.no_grad():
                    model.generate(
                        input_ids=ids,
                        attention_mask=torch.ones_like(ids),
                        max_new_tokens=max_new_tokens,
                        do_sample=temperature > 0,
                        temperature=temperature or None,
                        pad_token_id=self.tokenizer.pad_token_id,
                        logits_processor=LogitsProcessorList([watch]),
                        streamer=streamer,
                    )
            except BaseException as e:
                failed.append(e)
                streamer.end()

        worker = threading.Thread(target=make, daemon=True)
        worker.start()
        begun = False
        for piece in streamer:
            text = piece if begun else piece.lstrip()
            begun = begun or bool(text)
            if text:
                yield text
        worker.join()
        if failed:
            raise failed[0]
        return float(torch.stack(watch.steps).amin())

    def logits(
        self,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        copies: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Logits_N_V that predict every completion token, row after row, in the view that is on. Rows of like length share a forward pass.

        `copies` says which of the isolated copies (`LocalModel.copies`) each row goes through.
        """
        lengths = [len(p) + len(c) for p, c in zip(prompts, completions, strict=True)]
        parts: dict[int, torch.Tensor] = {}
        for rows in buckets(lengths):
            if copies is not None and self._copies:
                rows.sort(key=lambda r: copies[r])
                self._copies.take([copies[r] for r in rows])
            ids, mask = pad(
                [[*prompts[r], *completions[r]] for r in rows],
                self.tokenizer.pad_token_id,
                left=False,
            )
            first = min(len(prompts[r]) for r in rows) - 1
            keep = torch.arange(first, max(lengths[r] for r in rows) - 1, device=self.device)
            logits_R_T_V = self.model(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                logits_to_keep=keep,
                use_cache=False,
            ).logits
            for i, r in enumerate(rows):
                start = len(prompts[r]) - 1 - first
                parts[r] = logits_R_T_V[i, start : start + len(completions[r])]
        return torch.cat([parts[r] for r in range(len(lengths))])


def _mlp_layers(base: torch.nn.Module) -> list[str] | str:
    """The linear layers of the MLP blocks; every linear layer where no block can be told by its name."""
    names = [n for n, m in base.named_modules() if isinstance(m, torch.nn.Linear)]
    inside = sorted(
        {n.rsplit(".", 1)[-1] for n in names if any(part in _MLP for part in n.split("."))}
    )
    return inside or "all-linear"
