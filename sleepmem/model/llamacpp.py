"""Experts and habits as llama.cpp and Ollama run them: one LoRA in GGUF, or merged into the base.

Several low-rank products are summed exactly: their matrices stand side by side. What the base's
file names otherwise, or lays out otherwise than transformers, is told by its architecture.

| letter | dimension |
|---|---|
| r | rank |
| I, O | width of what goes into a layer, and of what comes out |
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np

from sleepmem.errors import FolderError, ModelError
from sleepmem.model.adapters import Saved

# How llama.cpp names the layers that an adapter may change.
_ATTENTION = ("attn_q", "attn_k", "attn_qkv")
_OTHERS = ("attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
# Architectures whose queries and keys it turns in pairs that stand side by side; transformers has
# the two halves of a head apart.
_IN_PAIRS = ("llama", "mistral3", "smollm3", "granite", "arcee", "apertus")
# Architectures that it lays out as transformers does.
_ALIKE = (
    *("qwen2", "qwen2moe", "qwen3", "qwen3moe", "gemma", "gemma2", "gemma3", "phi3"),
    *("gpt-oss", "starcoder2"),
)
# What gguf's Python quantises to, and what such a file is called.
QUANTISED = {
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q5_0": gguf.LlamaFileType.MOSTLY_Q5_0,
    "Q5_1": gguf.LlamaFileType.MOSTLY_Q5_1,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
    "Q4_1": gguf.LlamaFileType.MOSTLY_Q4_1,
}
_FLOATS = ("F32", "F16", "BF16")
# Embeddings suffer from few bits more than they weigh.
_EMBEDDINGS, _EMBEDDINGS_AS = ("token_embd.weight", "output.weight"), "Q8_0"
MODELFILE = "Modelfile"


class Pair(NamedTuple):
    """A low-rank product in llama.cpp's layout."""

    a_r_I: np.ndarray
    b_O_r: np.ndarray


@dataclass(frozen=True)
class BaseFile:
    """The GGUF file of a base model.

    names    what its tensors are called, by the modules of transformers
    heads    of queries and of keys
    """

    path: Path
    reader: gguf.GGUFReader
    architecture: str
    names: gguf.TensorNameMap
    heads: tuple[int, int]

    @classmethod
    def read(cls, path: Path) -> BaseFile:
        """A file.

        Raises:
            ModelError: it is no GGUF file of a model, or of an unknown architecture.
        """
        try:
            reader = gguf.GGUFReader(path)
            architecture = str(_value(reader, "general.architecture"))
            known = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
            blocks = int(_value(reader, f"{architecture}.block_count"))
            queries = int(_value(reader, f"{architecture}.attention.head_count"))
            keys = reader.get_field(f"{architecture}.attention.head_count_kv")
            heads = (queries, int(keys.contents()) if keys else queries)
            names = gguf.get_tensor_name_map(known[architecture], blocks)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{path} could not be read as the GGUF file of a model ({error!s:.80}). Pass the "
                "file that llama-server runs, whole, of an architecture that it knows."
            ) from error
        return cls(path, reader, architecture, names, heads)

    def pairs(self, parts: Sequence[Saved]) -> dict[str, Pair]:
        """The sum of adapters: a product for each tensor that one of them changes.

        Raises:
            ModelError: a layer is not in the file, has another shape, or is laid out in a way that
                is not known.
        """
        shapes = {tensor.name: tuple(map(int, tensor.shape)) for tensor in self.reader.tensors}
        found: dict[str, list[Pair]] = {}
        for part in parts:
            for module, pair in _modules(part):
                name = f"{self._layer(module)}.weight"
                # GGUF counts the widths the other way round.
                if shapes.get(name) != (pair.a_r_I.shape[1], pair.b_O_r.shape[0]):
                    raise ModelError(
                        f"{self.path} has no {name} of the shape that an expert changes; it is "
                        "the file of another model. Pass the GGUF file of the model that the "
                        "experts were trained on."
                    )
                found.setdefault(name, []).append(Pair(pair.a_r_I, self._turned(name, pair.b_O_r)))
        summed = {}
        for name, pairs in found.items():
            a_r_I = np.concatenate([pair.a_r_I for pair in pairs], axis=0)
            summed[name] = Pair(a_r_I, np.concatenate([pair.b_O_r for pair in pairs], axis=1))
        return summed

    def _layer(self, module: str) -> str:
        """What llama.cpp calls a layer."""
        name = self.names.get_name(module, (".weight",)) or ""
        kind = name.rpartition(".")[2]
        is_known = kind in _OTHERS
        if kind in _ATTENTION:
            is_known = self.architecture in _ALIKE
            is_known |= self.architecture in _IN_PAIRS and kind != "attn_qkv"
        if not is_known:
            raise ModelError(
                f"how llama.cpp lays out {module} of a {self.architecture!r} is not known here, "
                "so these experts cannot be written as GGUF. Merge them with PEFT, and let "
                "llama.cpp's convert_hf_to_gguf.py convert the model."
            )
        return str(name)

    def _turned(self, name: str, b_O_r: np.ndarray) -> np.ndarray:
        """The rows as llama.cpp orders them."""
        kind = name.split(".")[-2]
        if self.architecture not in _IN_PAIRS or kind not in _ATTENTION:
            return b_O_r
        heads = self.heads[0] if kind == "attn_q" else self.heads[1]
        by_half = b_O_r.reshape(heads, 2, -1, b_O_r.shape[1])
        return by_half.swapaxes(1, 2).reshape(b_O_r.shape)


def write(
    to: Path,
    base: Path,
    *,
    adapters: Mapping[str, Sequence[Path]],
    quantised: str | None = None,
) -> tuple[Path, ...]:
    """Write adapters into a new folder, with a Modelfile of the first; a whole one or none.

    Args:
        to: the new folder.
        base: GGUF file of the model.
        adapters: by the name of the file, the folders whose LoRAs it sums up.
        quantised: one of QUANTISED: the first goes merged into the base, all other layers of which
            are kept as they are, or brought into this form where they are in none.

    Returns:
        The GGUF files, in the order of `adapters`.

    Raises:
        FolderError: the folder exists or cannot be written.
        ModelError: the base is no GGUF file, or not that of the model.
        ExpertError: a LoRA cannot be read.
    """
    if to.exists() or to.is_symlink():
        raise FolderError(
            f"{to} exists; an export overwrites nothing. Choose a folder that is not there yet."
        )
    file = BaseFile.read(base)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=".export-", dir=to.parent))
    except OSError as error:
        raise _unwritten(to, error) from error
    try:
        written = []
        for name, folders in adapters.items():
            pairs = file.pairs([Saved.read(folder) for folder in folders])
            written.append(f"{name}.gguf")
            if quantised is None:
                _write_adapter(half / written[-1], file, pairs=pairs)
            else:
                _write_merged(half / written[-1], file, pairs=pairs, quantised=quantised)
                break
        lines = [f"FROM ./{written[0]}"]
        if quantised is None:
            lines = [f"FROM {base.resolve()}", f"ADAPTER ./{written[0]}"]
        (half / MODELFILE).write_text("\n".join([*lines, "PARAMETER temperature 0", ""]), "utf-8")
        half.rename(to)
    except OSError as error:
        raise _unwritten(to, error) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return tuple(to / name for name in written)


def _write_adapter(path: Path, base: BaseFile, *, pairs: Mapping[str, Pair]) -> None:
    writer = gguf.GGUFWriter(path, base.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(path.stem)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    # llama.cpp multiplies each product by alpha / rank, and ranks differ from layer to layer.
    alpha = float(max(len(pair.a_r_I) for pair in pairs.values()))
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, (a_r_I, b_O_r) in pairs.items():
        writer.add_tensor(f"{name}.lora_a", np.ascontiguousarray(a_r_I))
        scaled_O_r = b_O_r * np.float32(len(a_r_I) / alpha)
        writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(scaled_O_r))
    _finish(writer)


def _write_merged(path: Path, base: BaseFile, *, pairs: Mapping[str, Pair], quantised: str) -> None:
    """The base with the products added to its weights."""
    writer = gguf.GGUFWriter(path, base.architecture)
    own = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")
    for name, field in base.reader.fields.items():
        if not name.startswith(own):
            kind = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], kind)
    writer.add_file_type(QUANTISED[quantised])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for tensor in base.reader.tensors:
        wanted = _form(tensor, quantised, is_changed=tensor.name in pairs)
        if wanted is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weight_O_I = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name in pairs:
            a_r_I, b_O_r = pairs[tensor.name]
            weight_O_I = weight_O_I + b_O_r @ a_r_I
        form = gguf.GGMLQuantizationType[wanted]
        writer.add_tensor(tensor.name, gguf.quantize(weight_O_I, form), raw_dtype=form)
    _finish(writer)


def _form(tensor: Any, quantised: str, *, is_changed: bool) -> str | None:
    """What a tensor is written as; None: as it is."""
    is_matrix = len(tensor.shape) == 2
    if is_changed:
        return quantised
    if not is_matrix or tensor.tensor_type.name not in _FLOATS:
        return None
    wanted = quantised
    if tensor.name in _EMBEDDINGS and quantised != "F16":
        wanted = _EMBEDDINGS_AS
    block, _ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[wanted]]
    # A row that is cut into no whole blocks stays.
    return wanted if int(tensor.shape[0]) % block == 0 else None


def _finish(writer: gguf.GGUFWriter) -> None:
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _modules(part: Saved) -> Iterator[tuple[str, Pair]]:
    """The layers of an adapter, as transformers calls them; its scale is in B."""
    weights = part.weights
    for key in weights:
        if key.endswith(".lora_A.weight"):
            module = key.removesuffix(".lora_A.weight")
            a_r_I, b_O_r = _floats([weights[key], weights[f"{module}.lora_B.weight"]])
            scale = np.float32(part.alpha / part.rank)
            yield module.removeprefix("base_model.model."), Pair(a_r_I, scale * b_O_r)


def _floats(tensors: Iterable[Any]) -> list[np.ndarray]:
    return [tensor.float().numpy() for tensor in tensors]


def _value(reader: gguf.GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise LookupError(f"it has no {name}")
    return field.contents()


def _unwritten(to: Path, error: OSError) -> FolderError:
    return FolderError(
        f"the export {to} could not be written ({error.strerror or error}); make room or choose "
        "another place."
    )
