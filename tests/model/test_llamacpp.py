"""What llama.cpp gets is what the experts and the habits do together, and nothing half."""

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from _gguf import in_pairs, write_base
from _values import put_expert
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from sleepmem import ConfigError, ExpertError, FolderError, MemoryConfig, ModelError, SleepMemory
from sleepmem.config import ModelConfig, SleepConfig
from sleepmem.model import llamacpp

ALICE = ("alice",)


def written_lora(model_folder, folder, *, layers, rank, alpha=None, seed=0):
    """A LoRA with random weights, as PEFT writes it."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    settings = LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules=layers)
    peft = get_peft_model(model, settings)
    for name, weight in peft.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.1)
    peft.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tiny, tmp_path_factory):
    return write_base(tiny, tmp_path_factory.mktemp("base") / "tiny.gguf")


@pytest.fixture(scope="module")
def loras(tiny, tmp_path_factory):
    """One of all layers, and two of the last ones, each of another rank."""
    folder = tmp_path_factory.mktemp("loras")
    return [
        written_lora(tiny, folder / "habits", layers="all-linear", rank=3, seed=1),
        written_lora(tiny, folder / "first", layers=["up_proj", "down_proj"], rank=4, seed=2),
        written_lora(
            tiny, folder / "second", layers=["up_proj", "q_proj"], rank=2, alpha=7, seed=3
        ),
    ]


def tensors(file):
    reader = gguf.GGUFReader(file)
    return {one.name: gguf.dequantize(one.data, one.tensor_type) for one in reader.tensors}


def deltas(loras):
    """What they add to each weight together, as transformers lays it out, by llama.cpp's names."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    summed = {}
    for folder in loras:
        settings = json.loads((folder / "adapter_config.json").read_text())
        weights = llamacpp.Saved.read(folder).weights
        for key, a in weights.items():
            if ".lora_A." in key:
                b = weights[key.replace("lora_A", "lora_B")]
                module = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                name = f"{names.get_name(module, ('.weight',))}.weight"
                delta = (b @ a).numpy() * settings["lora_alpha"] / settings["r"]
                summed[name] = summed.get(name, 0) + delta
    for name, delta in summed.items():
        if "attn_q" in name or "attn_k" in name:
            summed[name] = in_pairs(delta, 2)
    return summed


def test_one_lora_does_what_several_do_together(base, loras, tmp_path):
    (file,) = llamacpp.write(tmp_path / "out", base, adapters={"all": loras})
    reader = gguf.GGUFReader(file)
    assert reader.get_field("general.type").contents() == "adapter"
    assert reader.get_field("adapter.type").contents() == "lora"
    alpha = reader.get_field("adapter.lora.alpha").contents()
    found, wanted = tensors(file), deltas(loras)
    assert {name.rpartition(".")[0] for name in found} == set(wanted)
    assert len(wanted) == 14
    for name, delta in wanted.items():
        a, b = found[f"{name}.lora_a"], found[f"{name}.lora_b"]
        # llama.cpp's own scale.
        np.testing.assert_allclose(b @ a * alpha / len(a), delta, atol=2e-6)


def test_merged_it_is_in_the_weights_and_the_rest_is_as_it_was(base, loras, tmp_path):
    (file,) = llamacpp.write(tmp_path / "out", base, adapters={"all": loras}, quantised="F16")
    before, after, added = tensors(base), tensors(file), deltas(loras)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        np.testing.assert_allclose(after[name], weight + added.get(name, 0), atol=2e-3)
    own, merged = gguf.GGUFReader(base), gguf.GGUFReader(file)
    for name in ("tokenizer.ggml.tokens", "tokenizer.chat_template", "llama.block_count"):
        assert own.get_field(name).contents() == merged.get_field(name).contents()


@pytest.mark.parametrize("form", ["Q8_0", "Q4_0", "Q4_1"])
def test_quantised_it_is_smaller_and_near(base, loras, tmp_path, form):
    (file,) = llamacpp.write(tmp_path / form, base, adapters={"all": loras}, quantised=form)
    kinds = {one.name: one.tensor_type.name for one in gguf.GGUFReader(file).tensors}
    assert kinds["blk.0.ffn_up.weight"] == form
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["output_norm.weight"] == "F32"
    assert file.stat().st_size < base.stat().st_size
    exact, near, added = tensors(base), tensors(file), deltas(loras)
    for name, delta in added.items():
        wanted = exact[name] + delta
        error = np.abs(near[name] - wanted).max() / np.abs(wanted).max()
        assert error < (0.01 if form == "Q8_0" else 0.15)


def test_ollama_gets_a_modelfile(base, loras, tmp_path):
    (file,) = llamacpp.write(tmp_path / "out", base, adapters={"all": loras})
    lines = (tmp_path / "out" / "Modelfile").read_text().splitlines()
    assert lines[:2] == [f"FROM {base}", f"ADAPTER ./{file.name}"]
    (whole,) = llamacpp.write(tmp_path / "w", base, adapters={"all": loras}, quantised="Q8_0")
    assert (tmp_path / "w" / "Modelfile").read_text().splitlines()[0] == f"FROM ./{whole.name}"


def test_what_cannot_be_mapped_is_told_and_nothing_is_left(tiny, base, loras, tmp_path):
    strange = write_base(tiny, tmp_path / "strange.gguf", architecture="falcon")
    with pytest.raises(ModelError, match=r"how llama\.cpp lays out .* of a 'falcon' is not known"):
        llamacpp.write(tmp_path / "out", strange, adapters={"all": loras})
    other = tmp_path / "other"
    shutil.copytree(loras[1], other)
    weights = llamacpp.Saved.read(other).weights
    halved = {key: one[..., : one.shape[-1] // 2].contiguous() for key, one in weights.items()}
    save_file(halved, other / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="it is the file of another model"):
        llamacpp.write(tmp_path / "out", base, adapters={"all": [other]})
    (tmp_path / "none.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="could not be read as the GGUF file of a model"):
        llamacpp.write(tmp_path / "out", tmp_path / "none.gguf", adapters={"all": loras})
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".export-*"))


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3moe", "gpt-oss"])
def test_queries_are_not_turned_where_llamacpp_does_not(tiny, loras, tmp_path, architecture):
    qwen = write_base(tiny, tmp_path / "qwen.gguf", architecture=architecture)
    # On attention alone, as experts sit where a model stacks its own.
    lora, kept = tmp_path / "lora", {}
    shutil.copytree(loras[2], lora)
    for key, weight in llamacpp.Saved.read(lora).weights.items():
        if architecture == "qwen2" or ".self_attn." in key:
            kept[key] = weight
    save_file(kept, lora / "adapter_model.safetensors")
    (file,) = llamacpp.write(tmp_path / "out", qwen, adapters={"all": [lora]})
    found = tensors(file)
    weights = llamacpp.Saved.read(lora).weights
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"
    ratio = found["blk.0.attn_q.weight.lora_b"] / weights[key].numpy()
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


# By a memory


@pytest.fixture
def slept(memory, tiny):
    """Alice's expert is live."""
    memory.local.add_expert("made", 2)
    told = memory.observe(ALICE, "Mara moved to Brenport.")

    def save(folder):
        memory.local.save_expert("made", folder)

    put_expert(memory, ALICE, [told.id], save=save)
    return memory


def test_a_memory_writes_its_live_experts(slept, base, tmp_path):
    name = slept.adapter_name(ALICE)
    (file,) = slept.export_gguf(ALICE, tmp_path / "out", base=base)
    assert file == tmp_path / "out" / f"{name}.gguf"
    assert slept.adapter_name() == ""
    with pytest.raises(FolderError, match="overwrites nothing"):
        slept.export_gguf(ALICE, tmp_path / "out", base=base)


def test_other_experts_have_another_name(slept):
    before = slept.adapter_name(ALICE)
    told = slept.observe(ALICE, "Jon owns the red boat.")
    put_expert(slept, ALICE, [told.id])
    after = slept.adapter_name(ALICE)
    assert before != after
    nights = [one.night_id for one in slept.ledger.lineage.experts(ALICE)]
    slept.rollback(ALICE, nights[:1])
    assert slept.adapter_name(ALICE) == before


def test_what_cannot_be_written_is_told_by_the_memory(slept, base, tmp_path):
    with pytest.raises(ModelError, match=r"convert_hf_to_gguf\.py"):
        slept.export_gguf(ALICE, tmp_path / "out")
    with pytest.raises(ExpertError, match="no live expert"):
        slept.export_gguf(("bob",), tmp_path / "out", base=base)
    with pytest.raises(ConfigError, match="pass one of F16"):
        slept.export_gguf(ALICE, tmp_path / "out", base=base, quantised="Q3_K")
    assert not (tmp_path / "out").exists()


def test_a_router_of_experts_is_no_sum(new_folder, tiny, embeddings, base, tmp_path):
    config = MemoryConfig(sleep=SleepConfig(experts_per_token=1), model=ModelConfig())
    with (
        SleepMemory.open(new_folder, tiny, embeddings=embeddings, config=config) as memory,
        pytest.raises(ConfigError, match="Set it to 0"),
    ):
        memory.export_gguf(ALICE, tmp_path / "out", base=base)
