"""The embedded model's tokenizer: byte-level BPE over words that carry their space.

Every role has one token of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sleepmem.embedded.world import conversation

VOCABULARY = 1024
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}
SPECIAL = ["<|pad|>", "<|bos|>", "<|end|>", *ROLES.values()]
# Digits go in pairs, so that a date is four tokens and a new number is still read.
_WORDS = Regex(r" ?\p{L}+|'s| ?-?\d\d?|\n| ?[^\s\p{L}\d]+|\s+")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}<|system|>{{ m['content'] }}"
    "{% elif m['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ m['content'] }}<|end|>{% endgeneration %}"
    "{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# The tokenizer learns from conversations with at most this many memories.
_MEMORIES = 4


def train_tokenizer(seed: int = 0, conversations: int = 12_000) -> PreTrainedTokenizerFast:
    """A tokenizer trained on the world's own conversations; the same for the same arguments."""
    # Every section starts with a space, so that a word looks alike everywhere.
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_WORDS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()

    # All 256 bytes are in the alphabet, so that text from outside the world can be written too.
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_contents(random.Random(seed), conversations), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|end|>",
        additional_special_tokens=list(ROLES.values()),
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def _contents(rng: random.Random, conversations: int) -> Iterator[str]:
    """What every message of so many conversations says."""
    for _ in range(conversations):
        for message in conversation(rng, _MEMORIES).messages:
            yield message["content"]
