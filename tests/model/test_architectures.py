"""Models of many makers, each tiny and random: experts and answers are right on all of them."""

import pytest
import torch
import transformers
from _weights import shake
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from sleepmem.config import ModelConfig
from sleepmem.errors import ModelError
from sleepmem.model.generation import shared_width
from sleepmem.model.local import LocalModel
from sleepmem.text.prompts import closed_book, open_book

SIZES = {
    "vocab_size": 1024,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 1024,
}
WINDOW = {"sliding_window": 24, "layer_types": ["sliding_attention", "full_attention"]}
ROUTED = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
# Its configuration, what differs from the sizes, and the module that its experts sit in.
ARCHITECTURES = {
    "qwen2": ("Qwen2Config", {**WINDOW, "use_sliding_window": True}, "mlp"),
    "qwen3-moe": ("Qwen3MoeConfig", {**ROUTED, "moe_intermediate_size": 32}, "self_attn"),
    "mixtral": ("MixtralConfig", ROUTED, "self_attn"),
    "gemma2": ("Gemma2Config", {**WINDOW, "query_pre_attn_scalar": 16}, "mlp"),
    "phi3": ("Phi3Config", {"sliding_window": 24}, "mlp"),
    "granite": (
        "GraniteMoeHybridConfig",
        {**MAMBA, "layer_types": ["mamba", "attention"], "num_local_experts": 0}
        | {"shared_intermediate_size": 64},
        "shared_mlp",
    ),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}, "feed_forward"),
    "gpt-oss": ("GptOssConfig", {**WINDOW, **ROUTED}, "self_attn"),
    "mpt": ("MptConfig", {"d_model": 32, "n_heads": 2, "n_layers": 2}, "ffn"),
}


def written(folder, tiny, *, config, **settings):
    """The model of this configuration in a folder, with the tiny tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    known = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id")}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        getattr(transformers, config)(
            **{**SIZES, **settings, **known, "pad_token_id": tokenizer.pad_token_id}
        )
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def asked():
    """Chats of which some begin alike, longer than a window, shorter, and in no order."""
    lines = [f"2026-05-0{day}: Person number {day} lives in town number {day}." for day in (1, 2)]
    chats = []
    for number in (22, 1, 333):
        question = f"Where does person number {number} live now?"
        chats += [open_book(question, lines), closed_book(question)]
    return chats


def uncached(local, prompt, *, tokens):
    """The answer by whole passes."""
    ids = list(prompt)
    with local.view(["e"]) as model, torch.no_grad():
        while len(ids) < len(prompt) + tokens and ids[-1] not in local.ends:
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
    return local.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True).strip()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_experts_and_answers_are_right_on_any_architecture(name, tiny, tmp_path):
    config, settings, block = ARCHITECTURES[name]
    folder = written(tmp_path / "model", tiny, config=config, **settings)
    local = LocalModel(folder, ModelConfig(device="cpu"))
    for number, expert in enumerate("ef"):
        local.add_expert(expert, 2)
        shake(local, expert, number)
    changed = [path for path, _ in local.peft.named_parameters() if ".lora_A." in path]
    assert changed
    assert all(f".{block}." in path for path in changed)

    # Alone, together, and without a cache.
    chats = asked()
    alone = [local.answer([chat], ["e"], max_new_tokens=8)[0] for chat in chats]
    assert local.answer(chats, ["e"], max_new_tokens=8) == alone
    assert local.answer(chats, max_new_tokens=8) != alone
    prompts = [local.prompt_ids(chat) for chat in chats[:2]]
    assert [uncached(local, prompt, tokens=8) for prompt in prompts] == alone[:2]

    # Two experts as their sum, and each by itself.
    answers = [local.answer_ids(text) for text in ("Brenport.", "In the old town.")]
    with torch.no_grad():
        with local.view("ef"):
            summed = local.logits(prompts, answers)
        with local.view("ef", training="f"):
            assert torch.allclose(local.logits(prompts, answers), summed, atol=1e-2)

    # By PEFT alone, as whoever gets an export reads it.
    local.save_expert("e", tmp_path / "e")
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([prompts[0]])
    with torch.no_grad(), local.view(["e"]) as own:
        read = PeftModel.from_pretrained(model, tmp_path / "e").eval()(input_ids=ids).logits
        assert torch.allclose(own(input_ids=ids).logits, read, atol=1e-3)


def test_experts_sit_in_what_speaks_of_a_model_that_sees(tiny, tmp_path):
    """In the last half of its blocks, as a profile may say."""
    text = {"query_pre_attn_scalar": 16, **WINDOW}
    seeing = {"image_size": 28, "patch_size": 14, "num_channels": 3}
    sizes = {name: value for name, value in SIZES.items() if name != "head_dim"}
    folder = written(
        tmp_path / "model",
        tiny,
        config="Gemma3Config",
        text_config={**SIZES, **text},
        vision_config={**sizes, **seeing},
        mm_tokens_per_image=4,
    )
    (folder / "profile.json").write_text('{"blocks": 0.5}')
    local = LocalModel(folder, ModelConfig(device="cpu"))
    local.add_expert("e", 2)
    changed = [path for path, _ in local.peft.named_parameters() if ".lora_A." in path]
    assert len(changed) == 3
    assert all("language_model.layers.1.mlp." in path for path in changed)


def test_beginnings_are_shared_as_far_as_a_window_sees(tiny, tmp_path):
    config, settings, _ = ARCHITECTURES["phi3"]
    folder = written(tmp_path / "model", tiny, config=config, **settings)
    assert shared_width(AutoModelForCausalLM.from_pretrained(folder)) == 24
    assert shared_width(AutoModelForCausalLM.from_pretrained(tiny)) > 10**9


def test_a_model_that_can_hold_no_expert_is_refused(tiny, tmp_path):
    folder = written(tmp_path / "model", tiny, config="Mamba2Config", num_heads=4, n_groups=1)
    with pytest.raises(ModelError, match="no linear layer"):
        LocalModel(folder, ModelConfig(device="cpu"))
