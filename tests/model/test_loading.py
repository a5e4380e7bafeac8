"""Which models are taken, and what is found out about them."""

import functools
import json
import shutil

import httpx
import huggingface_hub
import pytest
import torch
from _weights import ASKED, shake
from huggingface_hub.errors import HfHubHTTPError
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from sleepmem.config import ModelConfig
from sleepmem.errors import ModelError
from sleepmem.model import loading
from sleepmem.model.loading import load_base
from sleepmem.model.local import LocalModel
from sleepmem.stores.folder import EMBEDDED
from sleepmem.text.prompts import closed_book


def copied(tiny, tmp_path, **settings):
    """The tiny model with other generation settings."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny, folder)
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return folder


def test_no_model_no_chat(tmp_path):
    with pytest.raises(ModelError, match="could not be loaded"):
        LocalModel(tmp_path)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    file = tmp_path / "model.bin"
    file.touch()
    with pytest.raises(ModelError, match="is a file, and no GGUF"):
        LocalModel(file)


def unreachable(monkeypatch):
    """No hub listens there."""
    hub = functools.partial(huggingface_hub.HfApi, endpoint="http://127.0.0.1:9")
    monkeypatch.setattr(loading, "HfApi", hub)


def test_what_is_neither_here_nor_to_be_reached_says_what_was_tried(monkeypatch):
    unreachable(monkeypatch)
    with pytest.raises(ModelError, match=r"no folder and no file.*cache .*could not be reached"):
        LocalModel("sleepmem/no-such-model")


def test_what_is_cached_is_used_without_the_hub(monkeypatch, tiny):
    unreachable(monkeypatch)
    monkeypatch.setattr(loading, "try_to_load_from_cache", lambda name, file: str(tiny / file))
    with pytest.raises(ModelError, match="in the cached files"):
        LocalModel("sleepmem/half-cached")


@pytest.mark.parametrize("status", [401, 403, 429, 503])
def test_what_is_cached_is_used_where_the_hub_answers_with_an_error(monkeypatch, tiny, status):
    def refuse(hub, name, **options):
        response = httpx.Response(status, request=httpx.Request("GET", "https://hub"))
        raise HfHubHTTPError(f"status {status}", response=response)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    with pytest.raises(ModelError, match=rf"the hub does not give it \(status {status}\)"):
        LocalModel("sleepmem/half-cached")
    monkeypatch.setattr(loading, "try_to_load_from_cache", lambda name, file: str(tiny / file))
    with pytest.raises(ModelError, match="in the cached files"):
        LocalModel("sleepmem/half-cached")


def test_a_name_that_no_hub_takes_is_told_so():
    with pytest.raises(ModelError, match="Repo id must"):
        LocalModel("a/b/c/d")


def test_a_cpu_computes_in_what_it_is_fastest_in(tiny, tmp_path, monkeypatch):
    """In bfloat16 where it multiplies in it or nothing else fits; what was float32 stays so."""
    folder = tmp_path / "halves"
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)

    def dtype(**settings):
        return load_base(str(folder), ModelConfig(device="cpu", **settings)).model.dtype

    def able(**capabilities):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    able(avx512_bf16=False, architecture="x86_64")
    assert dtype() == torch.float32
    assert dtype(dtype="float16") == torch.float16
    able(amx_bf16=True)
    assert dtype() == torch.bfloat16
    assert load_base(str(tiny), ModelConfig(device="cpu")).model.dtype == torch.float32
    able()
    monkeypatch.setattr(loading, "_free_memory", lambda: 1000)
    assert dtype() == torch.bfloat16


def test_what_a_cache_gives_back_is_free_memory(monkeypatch, tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:  900 kB\nMemFree:  7 kB\nMemAvailable:  300 kB\nCached: 290 kB\n")
    monkeypatch.setattr(loading, "_MEMORY", told)
    assert loading._free_memory() == 300 * 1024
    for nothing in ("MemFree:  7 kB\n", None):
        told.write_text(nothing) if nothing else told.unlink()
        assert loading._free_memory() > 1_000_000


def test_what_is_unpacked_of_a_gguf_file_is_computed_in_bfloat16(tiny, tmp_path, monkeypatch):
    """Where a GPU has it: float16, as it lies on disk, some models overflow in."""
    halves, file = tmp_path / "halves", tmp_path / "tiny.gguf"
    AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float16).save_pretrained(halves)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(halves)
    file.touch()
    to = PreTrainedModel.to
    monkeypatch.setattr(PreTrainedModel, "to", lambda model, _, dtype: to(model, "cpu", dtype))
    monkeypatch.setattr(loading.gguf, "unpacked", lambda file, cache: (halves, "0" * 64))
    for has_it, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has_it=has_it: has_it)
        assert load_base(str(file), ModelConfig(device="cuda")).model.dtype == expected
        # What is no GGUF file keeps its own.
        own = load_base(str(halves), ModelConfig(device="cuda")).model.dtype
        assert own == torch.float16


def test_the_head_reads_rows_that_lie_side_by_side(tiny):
    """Else torch copies its weights for every row, wherever that was cut out of a prompt."""
    model = load_base(str(tiny), ModelConfig(device="cpu")).model
    seen = []
    model.get_output_embeddings().register_forward_hook(
        lambda head, inputs, output: seen.append(inputs[0])
    )
    for rows in (3, 1):
        model(input_ids=torch.ones(rows, 4, dtype=torch.long), logits_to_keep=1)
        assert seen[-1].shape[:2] == (rows, 1)
        assert seen[-1].stride()[:2] == (seen[-1].shape[-1],) * 2


@pytest.mark.parametrize("bits", [4, 8])
def test_a_base_in_few_bits_answers_and_carries_an_expert(bits):
    pytest.importorskip("bitsandbytes", reason="the extra `quantized` brings it")
    whole = LocalModel(EMBEDDED)  # wide enough for blocks of 64
    local = LocalModel(EMBEDDED, ModelConfig(device="cpu", bits=bits))
    assert local.base.get_memory_footprint() < whole.base.get_memory_footprint()
    local.add_expert("e", 4)
    shake(local, "e", 0)
    chats = [closed_book("Where is it?")]
    assert local.answer(chats, ["e"]) != local.answer(chats)


def test_a_model_without_a_chat_template_is_refused(tiny, tmp_path):
    folder = copied(tiny, tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        LocalModel(folder)


def test_a_chat_template_is_taken_from_a_file(tiny, tmp_path):
    folder, file = copied(tiny, tmp_path), tmp_path / "turns.jinja"
    (folder / "chat_template.jinja").rename(file)
    local = LocalModel(folder, ModelConfig(device="cpu", chat_template=str(file)))
    asked = closed_book("Where is it?")
    assert local.prompt_ids(asked) == LocalModel(tiny).prompt_ids(asked)
    for wrong in ("{% for", "{{ messages.nothing.at_all }}"):
        file.write_text(wrong)
        with pytest.raises(ModelError, match="is no chat template"):
            LocalModel(folder, ModelConfig(chat_template=str(file)))
    with pytest.raises(ModelError, match="is no chat template"):
        LocalModel(folder, ModelConfig(chat_template=str(tmp_path / "none")))


def test_the_base_is_frozen(tiny):
    base = load_base(str(tiny), ModelConfig(device="cpu"))
    assert not any(weight.requires_grad for weight in base.model.parameters())
    assert not base.model.training
    assert {weight.device for weight in base.model.parameters()} == {torch.device("cpu")}


def test_what_is_known_about_a_model(tiny):
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    assert (local.name, local.device) == (str(tiny), "cpu")
    assert (local.context_length, local.vocabulary) == (1024, 1024)
    assert load_base(str(tiny), ModelConfig(device="cpu")).mlp_layers == [
        "down_proj",
        "gate_proj",
        "up_proj",
    ]


@pytest.mark.parametrize("own", [7, [7, 8]])
def test_the_ends_of_the_model_and_of_its_tokenizer_count(tiny, tmp_path, own):
    base = load_base(str(copied(tiny, tmp_path, eos_token_id=own)), ModelConfig(device="cpu"))
    expected = {base.tokenizer.eos_token_id, base.tokenizer.pad_token_id, 7}
    assert expected <= set(base.ends)
    assert (8 in base.ends) == (own == [7, 8])


def test_an_answer_ends_with_what_the_template_ends_turns_with(tiny, tmp_path):
    """A word of the tiny model's answer that its template ends turns with, and nothing else."""
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    whole = local.answer(ASKED[:1], max_new_tokens=24)[0]
    ids = local.tokenizer(whole, add_special_tokens=False)["input_ids"]
    end = next(one for one in ids[4:] if one not in ids[:4])
    kept = local.tokenizer.decode(ids[: ids.index(end)]).strip()

    folder = copied(tiny, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    word = tokenizer.convert_ids_to_tokens(end)
    tokenizer.add_tokens([AddedToken(word, special=True, normalized=False)])
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{ m['content'] }}<|end|>", "{{ m['content'] }}" + word
    )
    tokenizer.save_pretrained(folder)
    ending = LocalModel(folder, ModelConfig(device="cpu"))
    assert whole.startswith(kept)
    assert ending.answer(ASKED[:1], max_new_tokens=24) == [kept] != [whole]
    streamed = "".join(ending.stream(ASKED[0], (), max_new_tokens=24))
    assert streamed.strip() == kept
    # So it is taught, and not by the end of a text that the tokenizer knows.
    assert ending.answer_ids("Yes.")[-1] == end != local.answer_ids("Yes.")[-1]
    assert local.answer_ids("Yes.")[-1] == local.tokenizer.eos_token_id


def test_a_models_own_generation_settings_change_no_answer(tiny, tmp_path):
    own = {"repetition_penalty": 1.9, "no_repeat_ngram_size": 2, "do_sample": True, "top_k": 2}
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    other = LocalModel(copied(tiny, tmp_path, **own), ModelConfig(device="cpu"))
    for options in ({}, {"temperature": 1.5, "seed": 3}):
        answers = local.answer(ASKED, max_new_tokens=24, **options)
        assert other.answer(ASKED, max_new_tokens=24, **options) == answers
