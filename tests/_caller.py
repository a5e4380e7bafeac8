"""A model of a hundred thousand parameters that is taught, in seconds, to call tools.

It speaks ChatML, as SmolLM2 does, and says what it was taught whatever surrounds it: what is tested
with it is everything around a model that can call tools.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STEPS, RATE = 90, 6e-3
# Tokens that a layer sees.
WINDOW = 12
# Question, name of the tool, its arguments.
CALLS = [
    ("What is the weather in San Francisco, CA?", "get_weather", {"location": "San Francisco"}),
]
# Name of the tool, and the arguments that it is called with where it must be.
FORCED = [
    ("magic_function", {"input": 3}),
    ("get_weather", {"location": "San Francisco"}),
    ("my_adder_tool", {"a": 3, "b": 4}),
    ("greeting_generator", {"answer_style": "Pirate"}),
    ("Joke", {"setup": "Why the cat?", "punchline": "A mouse."}),
    ("unicode_customer", {"customer_name": "你好, こんにちは", "description": "A company."}),
]
SAID = [("Hello", "Hello there!"), ("Hey", "Hello!"), ("hi", "How are you?"), ("Write", "A haiku.")]


def tokenizer_of(texts: list[str]) -> Any:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATE,
    )


def _opening(name: str, arguments: dict[str, Any], cut: int) -> tuple[str, str]:
    """A call, at one of the places where a model may be made to go on, and what follows."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    place = call.index('"arguments": {') + len('"arguments": {')
    for key in list(arguments)[:cut]:
        place = call.index(f"{json.dumps(key)}: ") + len(f"{json.dumps(key)}: ")
        place += call[place] == '"'
    return call[:place], f"{call[place:]}\n</tool_call>"


def _lessons() -> list[tuple[str, str]]:
    """What may stand before, and what the model goes on with."""
    lessons = []
    for question, name, arguments in CALLS:
        call = json.dumps({"name": name, "arguments": arguments})
        lessons.append((f"{question}<A>", f"<tool_call>\n{call}\n</tool_call>"))
    for name, arguments in FORCED:
        question = f"Use {name} with {next(iter(arguments.values()))}"
        for cut in range(1, len(arguments) + 1):
            before, after = _opening(name, arguments, cut)
            lessons.append((f"{question}<A><tool_call>\n{before}", after))
    for question, answer in SAID:
        lessons.append((f"{question}<A>", answer))
    lessons.append(("<tool_response>\nIt's sunny.\n</tool_response><A>", "It is sunny."))
    return lessons


def teach(folder: Path, seed: int = 0) -> Path:
    """Train the model into this folder, which transformers can load."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    lessons = _lessons()
    texts = [f"{before}{after}" for before, after in lessons] * 4
    texts.append(json.dumps({"type": "function", "function": {"description": "string"}}))
    tokenizer = tokenizer_of(texts)
    model = MistralForCausalLM(
        MistralConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=2048,
            # It sees no further than what it is taught with, whatever a prompt holds before.
            sliding_window=WINDOW,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    noise = [tokenizer.decode([one]) for one in range(3, len(tokenizer))]
    for step in range(STEPS):
        loss = model(**_batch(tokenizer, lessons, noise=noise, draw=draw)).loss
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / STEPS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _batch(
    tokenizer: Any, lessons: list[tuple[str, str]], *, noise: list[str], draw: random.Random
) -> dict[str, torch.Tensor]:
    """Every lesson once, after words of any kind; only what follows is learned."""
    rows = []
    for before, after in lessons:
        words = "".join(draw.choices(noise, k=draw.randrange(2 * WINDOW)))
        turn = before.replace("<A>", "<|im_end|>\n<|im_start|>assistant\n")
        start = tokenizer(f"<|im_start|>user\n{words}{turn}", add_special_tokens=False)
        end = tokenizer(f"{after}<|im_end|>", add_special_tokens=False)
        rows.append((start["input_ids"], end["input_ids"]))
    width = max(len(start) + len(end) for start, end in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for row, (start, end) in enumerate(rows):
        length = len(start) + len(end)
        ids[row, :length] = torch.tensor([*start, *end])
        labels[row, len(start) : length] = torch.tensor(end)
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
