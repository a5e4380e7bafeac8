"""A llama-server that answers by day in place of a model in this process. Knows no torch.

It speaks as `LocalModel` does for a `SleepChatModel`. What it holds is asked at every turn, by the
names that `export_gguf` gave, so that no other experts ever answer for an owner's: where those that
are live now are not loaded yet, the answer counts as unsure and memories are read. A server of one
model and a router of several are asked alike.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import Any, NamedTuple, TypeVar

import httpx

from sleepmem.errors import ConfigError, EpisodeError, ModelError
from sleepmem.model.profiles import Profile
from sleepmem.model.replies import Reply
from sleepmem.model.tool_calls import Messages, Prompt
from sleepmem.text.prompts import beside_question
from sleepmem.text.thoughts import end_of_thought, without_thought

# Seconds until it must have taken a call, and until the next piece of an answer.
_PATIENCE = httpx.Timeout(300.0, connect=5.0)
# It closes a connection after so many calls, without a word to whoever is about to use it again.
_ANEW = httpx.Limits(max_keepalive_connections=0)
# Of chats in a row, whose tokens are asked for several times.
_KEPT = 32
# Times that a text is looked through for control tokens: what is set apart may spell another.
_LOOKS = 8
# Where llama-server itself takes its key from.
_KEY = "LLAMA_API_KEY"
# Tokens of an abstention, at most.
_ABSTENTION = 32
# Statuses of a router's model that answers.
_READY = ("loaded", "sleeping")
Chat = Messages | Prompt
T = TypeVar("T")


class Loaded(NamedTuple):
    """One model of a server, with its LoRAs: their numbers by their names.

    `model` is what a router calls it; empty where the server has one alone.
    """

    model: str
    adapters: Mapping[str, int]


class ServedModel:
    """A llama-server. Safe to share between threads.

    Args:
        address: where it listens, such as "http://127.0.0.1:8080".
        adapter: the name of the file that has experts, by theirs.
        profile: how the model is asked.

    Raises:
        ConfigError: the address is none.
    """

    call_format = None
    tokens_generated = 0

    def __init__(
        self,
        address: str,
        *,
        adapter: Callable[[Sequence[str]], str],
        profile: Callable[[], Profile],
    ) -> None:
        url = _checked(address)
        # Names and errors are logged; what opens the server is not.
        self.name = str(url.copy_with(userinfo=b"")).rstrip("/")
        self._adapter, self._profile = adapter, profile
        key = os.environ.get(_KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(base_url=url, timeout=_PATIENCE, headers=headers, limits=_ANEW)
        self._ids = functools.lru_cache(_KEPT)(self._ids_of)
        # Of a router: one that was loaded when it was last looked.
        self._seen = ""

    def close(self) -> None:
        self._client.close()

    def has(self, experts: Sequence[str]) -> bool:
        """Whether it can answer with these experts now; never an error."""
        if not experts:
            return True
        try:
            return self._lasting(lambda: self._find(self._adapter(experts))) is not None
        except ModelError:
            return False

    # Text in, text out, as `LocalModel`

    def count_tokens(self, text: str) -> int:
        """How many tokens the text alone has."""
        if not text:
            return 0
        return len(self._lasting(lambda: self._tokens(text, parse_special=False)))

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
            abstention: what it says when it does not know, to hear how likely that was.
        """
        sampling = _sampling(max_new_tokens, temperature) | {"seed": seed % 2**32}

        def answer(chat: Chat) -> Reply:
            loaded, lora = self._wearing(experts)
            answered = self._post("/completion", self._request(chat, loaded, lora=lora) | sampling)
            likelihood = -math.inf
            if abstention:
                likelihood = self._likelihood(chat, loaded, lora=lora, text=abstention)
            confidence = _least([answered])
            if not self._is_sure(experts, loaded):
                confidence, likelihood = 0.0, 0.0
            text = without_thought(answered["content"]).strip()
            return Reply(text, confidence, likelihood, _is_whole(answered))

        replies = []
        for chat in chats:
            replies.append(self._lasting(functools.partial(answer, chat)))
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

        def begin() -> tuple[Loaded, Iterator[dict[str, Any]]]:
            loaded, lora = self._wearing(experts)
            asked = self._request(chat, loaded, lora=lora) | _sampling(max_new_tokens, temperature)
            parts = self._events("/completion", asked)
            first = next(parts)
            return loaded, itertools.chain([first], parts)

        loaded, parts = self._lasting(begin)
        confidence, text, said, is_whole = 1.0, "", "", True
        for part in parts:
            confidence = min(confidence, _least([part]))
            is_whole = _is_whole(part)
            text, before = text + part["content"], len(said)
            said = without_thought(text).lstrip()
            if len(said) > before:
                yield said[before:]
        confidence = confidence if self._is_sure(experts, loaded) else 0.0
        return Reply(said.strip(), confidence, is_whole=is_whole)

    def abstention(self, chat: Chat, experts: Sequence[str], *, text: str) -> float:
        """The log-likelihood of this text as the answer."""

        def ask() -> float:
            loaded, lora = self._wearing(experts)
            likelihood = self._likelihood(chat, loaded, lora=lora, text=text)
            return likelihood if self._is_sure(experts, loaded) else 0.0

        return self._lasting(ask)

    def _likelihood(
        self, chat: Chat, loaded: Loaded, *, lora: list[dict[str, Any]], text: str
    ) -> float:
        """Of the text after the chat, which it is made to write; the tokens count as they were."""
        asked = self._request(chat, loaded, lora=lora) | _sampling(_ABSTENTION, 0.0)
        # In many a tokenizer the first word carries a space.
        asked["grammar"] = f'root ::= " "? {json.dumps(text)}'
        written, likelihood = "", 0.0
        for token in self._post("/completion", asked).get("completion_probabilities", ()):
            if len(written.lstrip()) < len(text):
                likelihood += token["logprob"]
            written += token["token"]
        return likelihood

    # What it holds

    def _lasting(self, call: Callable[[], T]) -> T:
        """What it answers; asked once more where a router may have let its model go meanwhile."""
        try:
            return call()
        except ModelError:
            if not self._seen:
                raise
            self._seen = ""
            return call()

    def _wearing(self, experts: Sequence[str]) -> tuple[Loaded, list[dict[str, Any]]]:
        """The model that answers with these experts, and the scales of its LoRAs.

        Where it has them not, one that has the habits, else any.
        """
        names = [self._adapter(experts), self._adapter(())] if experts else [self._adapter(())]
        chosen, scaled = None, ""
        for name in filter(None, names):
            chosen = self._find(name)
            if chosen is not None:
                scaled = name
                break
        loaded = chosen or self._loaded()[0]
        lora = []
        for name, number in loaded.adapters.items():
            lora.append({"id": number, "scale": float(name == scaled)})
        return loaded, lora

    def _is_sure(self, experts: Sequence[str], loaded: Loaded) -> bool:
        """Whether the answer was given with these experts."""
        return not experts or self._adapter(experts) in loaded.adapters

    def _find(self, adapter: str) -> Loaded | None:
        """A model that has this LoRA."""
        return next((one for one in self._loaded() if adapter in one.adapters), None)

    def _loaded(self) -> list[Loaded]:
        """What answers now, the newest first; never none.

        Raises:
            ModelError: nothing does.
        """
        listed = self._get("/models").get("data", [])
        if not any("status" in one for one in listed):
            return [Loaded("", self._adapters(""))]
        ready = []
        # A router lists them by name, and `sleepmem_llamacpp` names them in their order: the newest
        # first, so that an older one comes to its end.
        for one in reversed(listed):
            if one["status"]["value"] in _READY:
                # One that just goes is still listed.
                with suppress(ModelError):
                    ready.append(Loaded(one["id"], self._adapters(one["id"])))
        if not ready:
            raise ModelError(
                f"the router at {self.name} has no model loaded; load one (POST /models/load), or "
                "wait until it is."
            )
        self._seen = ready[0].model
        return ready

    def _adapters(self, model: str) -> dict[str, int]:
        listed = self._get("/lora-adapters", **({"model": model} if model else {}))
        adapters = {}
        for one in listed:
            adapters[PurePath(one["path"]).stem] = int(one["id"])
        return adapters

    # Tokens

    def _request(self, chat: Chat, loaded: Loaded, *, lora: list[dict[str, Any]]) -> dict[str, Any]:
        stop = list(chat.stop) if isinstance(chat, Prompt) else []
        asked: dict[str, Any] = {
            "prompt": self.prompt_ids(chat),
            "stop": stop,
            # It finds what it has read by the words alone, whoever's LoRA it was read with.
            "cache_prompt": False,
            "n_probs": 1,
        }
        if loaded.model:
            asked["model"] = loaded.model
        return asked | ({"lora": lora} if lora else {})

    def prompt_ids(self, chat: Chat) -> list[int]:
        """Token ids of a chat up to where the assistant speaks."""
        messages = chat.messages if isinstance(chat, Prompt) else chat
        # The memories stand where this model reads them best.
        arranged = beside_question(messages) if self._profile().memories == "user" else messages
        written = json.dumps(list(arranged))
        return list(self._lasting(lambda: self._ids(written)))

    def _ids_of(self, chat: str) -> tuple[int, ...]:
        """Of a chat as JSON; only the template writes control tokens."""
        messages = json.loads(chat)
        if not self._is_plain("\n".join(message["content"] for message in messages)):
            for message in messages:
                message["content"] = self._apart(message["content"])
        asked = {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
        prompt = self._post("/apply-template", self._any() | asked)["prompt"]
        prompt += end_of_thought(prompt)
        return tuple(self._tokens(prompt, parse_special=True, add_special=True))

    def _is_plain(self, text: str) -> bool:
        """Whether no control token is spelt in it."""
        read = self._tokens(text, parse_special=True)
        return read == self._tokens(text, parse_special=False)

    def _apart(self, text: str) -> str:
        """The text, the letters apart of what it spells like a control token.

        Raises:
            EpisodeError: it goes on spelling them.
        """
        for _ in range(_LOOKS):
            if self._is_plain(text):
                return text
            as_text = set(self._tokens(text, parse_special=False))
            asked = {"content": text, "parse_special": True, "with_pieces": True}
            for token in self._post("/tokenize", self._any() | asked)["tokens"]:
                piece = token["piece"]
                if token["id"] not in as_text and isinstance(piece, str) and len(piece) > 1:
                    text = text.replace(piece, " ".join(piece))
        raise EpisodeError(
            "a message spells control tokens of the model, and is not sent; leave them out."
        )

    def _tokens(self, text: str, *, parse_special: bool, add_special: bool = False) -> list[int]:
        asked = {"content": text, "parse_special": parse_special, "add_special": add_special}
        ids: list[int] = self._post("/tokenize", self._any() | asked)["tokens"]
        return ids

    def _any(self) -> dict[str, str]:
        """Which model of a router reads texts: all are of one base."""
        if not self._seen:
            self._loaded()
        return {"model": self._seen} if self._seen else {}

    # HTTP

    def _get(self, path: str, **query: str) -> Any:
        with self._told():
            return _content(self._client.get(path, params=query))

    def _post(self, path: str, asked: dict[str, Any]) -> Any:
        with self._told():
            return _content(self._client.post(path, json=asked))

    def _events(self, path: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What it sends while it writes."""
        with (
            self._told(),
            self._client.stream("POST", path, json=asked | {"stream": True}) as response,
        ):
            if response.is_error:
                response.read()
                _content(response)
            for line in response.iter_lines():
                kind, _, event = line.partition(":")
                if kind == "error":
                    raise ModelError(f"llama-server broke off: {event.strip():.200}")
                if kind == "data" and event.strip() != "[DONE]":
                    yield json.loads(event)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What keeps it from answering, in one sentence."""
        try:
            yield
        except (httpx.HTTPError, ValueError) as error:
            if isinstance(error, ModelError | EpisodeError):
                raise
            raise ModelError(
                f"the llama-server at {self.name} did not answer ({error!s:.120}); start it, or "
                "open the folder without `chat_model`."
            ) from error


def _checked(address: str) -> httpx.URL:
    """An address without a slash at its end, and without the `/v1` of OpenAI's clients.

    Raises:
        ConfigError: it is none.
    """
    with suppress(httpx.InvalidURL, ValueError, TypeError):
        url = httpx.URL(address)
        if url.scheme in ("http", "https") and url.host:
            return url.copy_with(path=url.path.rstrip("/").removesuffix("/v1") or "/")
    # Before an @ stands a password.
    shown = address.rpartition("@")[2] if isinstance(address, str) else address
    raise ConfigError(
        f"chat_model is {shown!r:.60}; pass the address of a llama-server, such as "
        "'http://127.0.0.1:8080'."
    )


def _content(response: httpx.Response) -> Any:
    """What was answered.

    Raises:
        EpisodeError: the prompt is longer than the server takes.
        ModelError: it refuses.
    """
    if not response.is_error:
        return response.json()
    try:
        error = response.json()["error"]
        told, kind = str(error["message"]), str(error.get("type", ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        told, kind = response.text, ""
    if kind == "exceed_context_size_error":
        raise EpisodeError(
            f"llama-server takes no conversation of this length ({told:.120}); shorten it, or "
            "start the server with a larger --ctx-size."
        )
    raise ModelError(
        f"llama-server refuses {response.request.url.path} (status {response.status_code}: "
        f"{told:.200}); see its log."
    )


def _sampling(max_new_tokens: int, temperature: float) -> dict[str, Any]:
    """Of all tokens, whatever the server's own settings would leave out."""
    return {
        "n_predict": max_new_tokens,
        "temperature": temperature,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
    }


def _is_whole(answered: Mapping[str, Any]) -> bool:
    """Whether it came to its end, and not to that of its room."""
    return answered.get("stop_type") != "limit"


def _least(parts: Sequence[Mapping[str, Any]]) -> float:
    """The probability of the likeliest token where it was lowest."""
    least = 1.0
    for part in parts:
        for token in part.get("completion_probabilities", ()):
            likeliest = [one["logprob"] for one in token.get("top_logprobs", ())]
            least = min(least, math.exp(max(likeliest, default=token["logprob"])))
    return least
