"""LocalModel: a frozen base model and its experts.

A view names the experts that are on; none on is the base. Teacher and student are two views of one
model. An expert is a LoRA adapter on the MLP blocks (arXiv 2606.03979, section 3).

| letter | dimension |
|---|---|
| N | tokens of all completions |
| V | vocabulary |

Departs from the paper: experts are added when a night needs them, not allocated and masked
beforehand. The router knows no parameters: of the frozen experts of a view, each token goes through
all, or through the `experts_per_token` that would add most to it in a layer.
"""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError

from sleepmem.config import ModelConfig
from sleepmem.errors import EpisodeError, ExpertError
from sleepmem.model import generation
from sleepmem.model.adapters import Copies, Saved, Sums, delete_adapter, layers_of
from sleepmem.model.encoding import Encoding, Messages
from sleepmem.model.generation import Sampling
from sleepmem.model.loading import Base, load_base
from sleepmem.model.replies import Reply
from sleepmem.model.tool_calls import CallFormat, Prompt, Tools
from sleepmem.text.prompts import beside_question

Chat = Messages | Prompt


class _View(NamedTuple):
    """The experts that are on, and the one of them that trains."""

    experts: tuple[str, ...] = ()
    training: str | None = None

    def without(self, expert: str) -> _View:
        experts = tuple(name for name in self.experts if name != expert)
        return _View(experts, None if self.training == expert else self.training)


class LocalModel:
    """A base model with named experts. Calls from several threads take turns.

    Args:
        name: hub id, folder or GGUF file.
        config: device, dtype and bits.
        experts_per_token: frozen experts that a token goes through in a layer; 0: all of them,
            summed.
        cache: folder that keeps what is unpacked of a GGUF file; in the hub's own by default.

    Raises:
        ModelError: the model cannot be loaded, or its tokenizer has no chat template.
        MissingExtra: a package that this kind of model needs is not installed.
    """

    def __init__(
        self,
        name: str | Path,
        config: ModelConfig | None = None,
        *,
        experts_per_token: int = 0,
        cache: Path | None = None,
    ) -> None:
        loaded = load_base(str(name), config, cache=cache)
        self._set_up(str(name), loaded, experts_per_token)

    def twin(self) -> LocalModel:
        """Another model on the same frozen weights in memory, without any expert.

        What is put on one, or trained in it, the other does not see.
        """
        other = LocalModel.__new__(LocalModel)
        # How a tokenizer takes control tokens is a state of its own, so each has one.
        loaded = self._loaded._replace(tokenizer=copy.deepcopy(self.tokenizer))
        other._set_up(self.name, loaded, self.experts_per_token)
        return other

    def over(self, model: torch.nn.Module) -> LocalModel:
        """Another model on these weights, as they are changed elsewhere."""
        other = LocalModel.__new__(LocalModel)
        loaded = self._loaded._replace(model=model, tokenizer=copy.deepcopy(self.tokenizer))
        other._set_up(self.name, loaded, self.experts_per_token)
        return other

    def _set_up(self, name: str, loaded: Base, experts_per_token: int) -> None:
        self.name, self.experts_per_token, self._loaded = name, experts_per_token, loaded
        self.profile, self.known_by = loaded.profile, loaded.known_by
        self.habits, self.rehearsal = loaded.habits, loaded.rehearsal
        # PEFT puts its layers into a model; that which was loaded stays as it was.
        self.base = _on_the_same_weights(loaded.model)
        self.tokenizer, self.device = loaded.tokenizer, loaded.device
        # The most tokens it takes, and the width of its logits.
        self.context_length, self.vocabulary = loaded.context_length, loaded.vocabulary
        self.ends, self._mlp_layers = loaded.ends, loaded.mlp_layers
        self.encoding = Encoding(loaded.tokenizer, loaded.template)
        # How it calls tools, if it does.
        self.call_format = CallFormat.of(loaded.tokenizer, loaded.model)

        # Names of the experts in memory. Their weights, and the sums of several, are PEFT's.
        self.experts: tuple[str, ...] = ()
        self.peft: PeftModel | None = None
        self._sums = Sums(experts_per_token)
        self._copies: Copies | None = None

        # The view that is on, and the one that PEFT was told last: to tell it walks every weight
        # of every expert, so that is left until somebody asks for the model.
        self._on = _View()
        self._told: _View | None = None
        self._open_views = 0
        self._lock = threading.RLock()

        # The most chats that are answered at once.
        self.batch = 64

        # So far, in whole answers.
        self.tokens_generated = 0

    # Experts

    def add_expert(self, name: str, rank: int, *, seed: int = 0) -> None:
        """A new expert that changes nothing yet (B is zero)."""
        with self._lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._add(name, rank, alpha=2 * rank)

    def load_expert(self, name: str, folder: Path) -> None:
        """Load what `save_expert` wrote; nothing to do when it is in memory.

        Nothing but its rank and its weights is read, and these as safetensors. Whether the files
        are whole is for the caller to check.

        Raises:
            ExpertError: it has no safetensors, or does not fit the model.
        """
        with self._lock:
            if name in self.experts:
                return
            saved = Saved.read(folder)
            try:
                with torch.random.fork_rng(devices=[]):
                    self._add(name, saved.rank, alpha=saved.alpha, is_frozen=True)
                assert self.peft is not None
                saved.fill(self.peft, name)
            except (RuntimeError, ValueError) as error:
                self.drop_expert(name)
                raise ExpertError(
                    f"expert {name} does not fit model {self.name!r} "
                    f"({str(error).splitlines()[0]}); it was trained on another. "
                    "Open the folder with that model."
                ) from error

    def save_expert(self, name: str, folder: Path) -> None:
        """Write its weights and its settings into a new folder.

        Half of it may lie there when that fails or the process is killed.

        Raises:
            OSError: it could not be written, or the folder exists.
        """
        assert self.peft is not None
        folder.mkdir(parents=True)
        try:
            self.peft.save_pretrained(
                str(folder), selected_adapters=[name], safe_serialization=True
            )
        except SafetensorError as error:
            # A full disk, for one: safetensors wraps what the system says.
            raise OSError(str(error)) from error

        # PEFT adds a page for the hub, and writes into a folder of the expert's name.
        (folder / "README.md").unlink(missing_ok=True)
        for file in (folder / name).iterdir():
            file.rename(folder / file.name)
        (folder / name).rmdir()

    def drop_expert(self, name: str) -> None:
        """Take it out of memory, and out of the view that is on."""
        with self._lock:
            if self.peft is None or name not in self.experts:
                return
            self._told = None
            self._sums.forget(self.peft, name)
            if self.experts == (name,):
                self.base = self.peft.unload()
                self.peft = None
            else:
                delete_adapter(self.peft, name)
            self.experts = tuple(other for other in self.experts if other != name)
            self._on = self._on.without(name)
            if self._open_views:
                self._tell_peft()

    def _add(self, name: str, rank: int, *, alpha: int, is_frozen: bool = False) -> None:
        config = LoraConfig(
            r=rank,
            lora_alpha=alpha,
            target_modules=self._mlp_layers,
            task_type="CAUSAL_LM",
            inference_mode=is_frozen,
        )
        self._told = None
        if self.peft is None:
            self.peft = get_peft_model(self.base, config, adapter_name=name)
        else:
            self.peft.add_adapter(name, config)
        self.experts = (*self.experts, name)

    # Views

    @property
    def model(self) -> Any:
        """The model in the view that is on."""
        self._tell_peft()
        return self.peft or self.base

    @contextmanager
    def view(self, experts: Sequence[str], *, training: str | None = None) -> Iterator[Any]:
        """The model with exactly these experts on; as before on leaving.

        Args:
            training: the only one of them with gradients.

        Raises:
            ExpertError: one of them is not in memory.
        """
        with self._lock:
            before = self._on
            self._put_on(_View(tuple(experts), training))
            self._open_views += 1
            try:
                yield self.model
            finally:
                self._open_views -= 1
                self._put_on(before)
                # Who holds the outer view's model uses it without asking again.
                if self._open_views:
                    self._tell_peft()

    @contextmanager
    def copies(self, expert: str, count: int, *, beside: Sequence[str] = ()) -> Iterator[Copies]:
        """Copies of an expert that learn apart from each other in the same passes.

        `logits` with `copies` goes through them; the experts `beside` are on in all.
        """
        assert self.peft is not None
        layers = layers_of(self.peft, expert)
        with self.view(beside):
            self._copies = Copies(layers, expert, count=count)
            try:
                yield self._copies
            finally:
                self._copies.remove()
                self._copies = None

    def _put_on(self, view: _View) -> None:
        missing = [name for name in view.experts if name not in self.experts]
        if missing and self.peft is None:
            raise ExpertError(
                f"no expert is loaded, yet {', '.join(view.experts)} should be on. Load them first."
            )
        if missing:
            raise ExpertError(f"expert {', '.join(missing)} is not in memory. Load it first.")
        self._on = view

    def _tell_peft(self) -> None:
        """Bring PEFT into the view that is on, if it is in another."""
        if self.peft is None or self._told == self._on:
            return
        # In neither view, should it break off half-way.
        self._told = None
        tuner: Any = self.peft.base_model
        if self._on.experts:
            trained = [name for name in self._on.experts if name == self._on.training]
            frozen = tuple(name for name in self._on.experts if name != self._on.training)
            # What does not train may go through its sum, which is faster.
            if len(frozen) > 1:
                frozen = (self._sums.adapter(self.peft, frozen),)
            tuner.set_adapter([*frozen, *trained], inference_mode=True)
            tuner.enable_adapter_layers()
            tuner.set_requires_grad(tuner.active_adapters, False)
            if trained:
                tuner.set_requires_grad(trained)
        else:
            tuner.disable_adapter_layers()
        self._told = self._on

    # Text in, text out

    def prompt_ids(self, chat: Chat) -> list[int]:
        """Token ids of a chat up to where the assistant speaks, or to where it goes on.

        Raises:
            EpisodeError: it does not fit the model's context.
            ModelError: its chat template does not take it.
        """
        prompt = _prompt(chat)
        may_call = bool(prompt.tools and prompt.in_control and not prompt.opening)
        arranged = self.arranged(prompt.messages)
        ids = self.encoding.chat(arranged, prompt.tools, may_call=may_call)
        if prompt.opening:
            tag = self.call_format.opening if self.call_format else ""
            ids += self.encoding.opening(tag, prompt.opening)
        if len(ids) >= self.context_length:
            raise EpisodeError(
                f"the conversation has {len(ids)} tokens and the model takes "
                f"{self.context_length}; shorten it, split the episode, or use a model with a "
                "longer context."
            )
        return ids

    def arranged(self, messages: Messages) -> Messages:
        """With the memories where this model reads them best, and its chat template takes them."""
        is_beside = self.profile.memories == "user" or not self.encoding.template.takes_system
        return beside_question(messages) if is_beside else messages

    def call_parser(self, chat: Prompt, tools: Tools) -> Any:
        """Transformers' parser of the answer to this chat, in which these tools may be called."""
        assert self.call_format is not None
        return self.call_format.parser(tools, self.tokenizer.decode(self.prompt_ids(chat)))

    def answer_ids(self, text: str) -> list[int]:
        """Token ids of what an assistant said, with the end of its turn."""
        return [*self.encoding.text(text), self.ends[0]]

    def count_tokens(self, text: str) -> int:
        """How many tokens the text alone has."""
        return len(self.encoding.text(text))

    def answer(
        self,
        chats: Sequence[Chat],
        experts: Sequence[str] = (),
        *,
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """The texts of `reply`."""
        replies = self.reply(
            chats, experts, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed
        )
        return [reply.text for reply in replies]

    @torch.no_grad()
    def reply(
        self,
        chats: Sequence[Chat],
        experts: Sequence[str] = (),
        *,
        max_new_tokens: int = 32,
        temperature: float = 0.0,
        seed: int = 0,
        abstention: str = "",
    ) -> list[Reply]:
        """One answer per chat, in order, and how sure the model was; greedy at temperature 0.

        Args:
            seed: what is drawn depends on it alone.
            abstention: what it says when it does not know, to hear how likely that was; costs a
                forward pass.
        """
        prompts = [self.prompt_ids(chat) for chat in chats]
        sampling = self._sampling(chats, prompts, most=max_new_tokens, temperature=temperature)
        replies = [Reply("", 0.0)] * len(prompts)
        with self.view(experts) as model, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for answered in generation.reply_in_batches(
                model,
                prompts,
                tokenizer=self.tokenizer,
                ends=self.ends,
                sampling=sampling,
                batch=self.batch,
            ):
                self.tokens_generated += answered.tokens
                for row, reply in zip(answered.rows, answered.replies, strict=True):
                    replies[row] = reply
            if abstention:
                likelihoods = self._likelihoods(prompts, abstention)
                for row, likelihood in enumerate(likelihoods):
                    replies[row] = replies[row]._replace(abstention=likelihood)
        return replies

    def stream(
        self,
        chat: Chat,
        experts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
    ) -> Generator[str, None, Reply]:
        """The answer in pieces, as it is generated; returns the whole."""
        prompt = self.prompt_ids(chat)
        reply = yield from generation.stream(
            lambda: self.view(experts),
            prompt,
            tokenizer=self.tokenizer,
            ends=self.ends,
            sampling=self._sampling([chat], [prompt], most=max_new_tokens, temperature=temperature),
        )
        return reply

    def _sampling(
        self,
        chats: Sequence[Chat],
        prompts: Sequence[Sequence[int]],
        *,
        most: int,
        temperature: float,
    ) -> Sampling:
        """How answers to these chats are drawn, which end with what ends any of them.

        No longer than the context has room for, after the shortest prompt.
        """
        asked = list(map(_prompt, chats))
        stop = tuple(dict.fromkeys(itertools.chain.from_iterable(one.stop for one in asked)))
        in_control = any(one.in_control for one in asked)
        room = self.context_length - min(map(len, prompts), default=0)
        return Sampling(min(most, room), temperature, stop, in_control)

    @torch.no_grad()
    def abstention(self, chat: Chat, experts: Sequence[str], *, text: str) -> float:
        """The log-likelihood of this text as the answer."""
        with self.view(experts):
            return self._likelihoods([self.prompt_ids(chat)], text)[0]

    def _likelihoods(self, prompts: Sequence[Sequence[int]], text: str) -> list[float]:
        """Per prompt, the log-likelihood that the text follows, in the view that is on."""
        answer_ids = self.encoding.text(text)

        def likelihood(some: Sequence[Sequence[int]]) -> list[float]:
            logits_N_V = self.logits(some, [answer_ids] * len(some)).float().log_softmax(-1)
            token_N_1 = torch.tensor(answer_ids * len(some), device=logits_N_V.device)[:, None]
            own_N = logits_N_V.gather(-1, token_N_1)[:, 0]
            sums: list[float] = own_N.view(len(some), -1).sum(-1).tolist()
            return sums

        batches = generation.in_batches(prompts, likelihood, most=self.batch)
        return list(itertools.chain.from_iterable(batches))

    def logits(
        self,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Sequence[int]],
        *,
        copies: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """Logits_N_V that predict every completion token, row after row, in the view that is on.

        Rows of like length share a forward pass.

        Args:
            copies: which of the isolated copies (see `copies`) each row goes through.
        """
        lengths = []
        for prompt, completion in zip(prompts, completions, strict=True):
            lengths.append(len(prompt) + len(completion))
        logits_by_row: dict[int, torch.Tensor] = {}
        for rows in generation.buckets(lengths):
            if copies is not None and self._copies:
                rows.sort(key=copies.__getitem__)
                self._copies.take([copies[row] for row in rows])
            logits = generation.completion_logits(
                self.model,
                [prompts[row] for row in rows],
                completions=[completions[row] for row in rows],
                pad_token_id=self.tokenizer.pad_token_id,
            )
            logits_by_row.update(zip(rows, logits, strict=True))
        return torch.cat([logits_by_row[row] for row in range(len(prompts))])


def _prompt(chat: Chat) -> Prompt:
    return chat if isinstance(chat, Prompt) else Prompt(chat)


def _on_the_same_weights(model: torch.nn.Module) -> Any:
    """A copy of all its modules that holds the same tensors."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
