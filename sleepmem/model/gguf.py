"""A GGUF file, as llama.cpp and Ollama run it, made into a model folder once.

Knows torch only while it unpacks one.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from huggingface_hub.constants import HF_HOME

from sleepmem._extras import from_extra
from sleepmem.errors import ModelError

SUFFIX = ".gguf"
# Nothing of a file in 8 bits or fewer is lost in it that its quantisation had left.
_KEPT_AS = "float16"


class Unpacked(NamedTuple):
    """The folder of a file's weights as safetensors, with its tokenizer; and the file's hash."""

    folder: Path
    sha256: str


def unpacked(file: Path, cache: Path | None = None) -> Unpacked:
    """The file as a model folder.

    It is named by the file's hash, so another file of the same name is unpacked anew; half of one
    never lies there.

    Args:
        file: ends in .gguf.
        cache: folder that keeps it; in the hub's own by default.

    Raises:
        ModelError: the file is none, is damaged, or of an architecture that is not known.
        MissingExtra: what reads GGUF is not installed.
        OSError: the cache cannot be written.
    """
    cache = cache or Path(HF_HOME) / "sleepmem"
    sha256 = digest(file)
    folder = cache / f"{file.stem}-{sha256[:16]}"
    if folder.exists():
        return Unpacked(folder, sha256)

    cache.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{file.stem}-", dir=cache))
    try:
        _unpack(file, half)
        try:
            half.rename(folder)
        except OSError:
            # Another process was faster.
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return Unpacked(folder, sha256)


def digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _unpack(file: Path, folder: Path) -> None:
    with from_extra("gguf", "reading a GGUF file"):
        import gguf  # noqa: F401 - transformers imports it deep inside, and names it no extra
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=_KEPT_AS,
            quantization_config=GgufConfig(dequantize=True),
        )
    except OSError:
        raise
    except Exception as error:  # of many kinds: a file may be damaged anywhere
        raise ModelError(
            f"{file} could not be read as GGUF ({_first_line(error)}). Fetch it again, or use "
            "another file of the model: llama.cpp's own types are read, of the architectures "
            "that transformers knows."
        ) from error
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
