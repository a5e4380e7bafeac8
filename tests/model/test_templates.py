"""Chat templates in the style of many makers: memories are read, answers are found, by any."""

import functools
import shutil

import pytest
import torch
from _weights import ASKED
from transformers import AutoTokenizer

from sleepmem import SleepMemory
from sleepmem.config import MemoryConfig, ModelConfig
from sleepmem.errors import ModelError
from sleepmem.model.local import LocalModel
from sleepmem.model.tool_calls import Prompt
from sleepmem.text.prompts import closed_book, open_book
from sleepmem.text.thoughts import without_thought

TURNS = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}</s>\n{% endfor %}"
CHATML = TURNS + "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant/user/assistant') }}{% endif %}"
)
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + STRICT + "{% set role = 'model' if m['role'] == 'assistant' else 'user' %}"
    "<start_of_turn>{{ role }}\n{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    STRICT + "{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }}</s>{% endif %}{% endfor %}"
)
DROPPED = (
    "{% for m in messages %}{% if m['role'] == 'user' %}USER: {{ m['content'] }}\n"
    "{% elif m['role'] == 'assistant' %}ASSISTANT: {{ m['content'] }}</s>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
LLAMA3 = (
    "{% if messages[0]['role'] == 'system' %}{% set told = messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% else %}{% set told = '' %}{% endif %}"
    "<|start|>system<|end_of_header|>\n\nToday Date: {{ strftime_now('%d %b %Y') }}\n\n{{ told }}"
    "<|eot|>{% for m in messages %}<|start|>{{ m['role'] }}<|end_of_header|>\n\n"
    "{{ m['content'] | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end_of_header|>\n\n{% endif %}"
)
DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}<|system|>\nYou are helpful.</s>\n{% endif %}" + CHATML
)
HYBRID = CHATML.replace(
    "<|assistant|>\n{% endif %}",
    "<|assistant|>\n{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
THINKING = CHATML.replace("<|assistant|>\n{% endif %}", "<|assistant|>\n<think>\n{% endif %}")
HARMONY = (
    "<|start|>system<|message|>Reasoning: low<|end|>{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}<|start|>assistant<|channel|>final<|message|>"
    "{{ m['content'] }}<|end|>{% else %}<|start|>{{ m['role'] }}<|message|>{{ m['content'] }}"
    "<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
# With what the prompt ends, whatever its template.
ENDS = {
    "tinyllama": (CHATML, "<|assistant|>\n"),
    "none": (TURNS, "<|assistant|>\n"),
    "gemma": (GEMMA, "<start_of_turn>model\n"),
    "mistral": (MISTRAL, "[/INST]"),
    "dropped": (DROPPED, "ASSISTANT:"),
    "llama3": (LLAMA3, "assistant<|end_of_header|>\n\n"),
    "default": (DEFAULT, "<|assistant|>\n"),
    "hybrid": (HYBRID, "<|assistant|>\n<think>\n\n</think>\n\n"),
    "thinking": (THINKING, "<|assistant|>\n<think>\n\n</think>\n\n"),
    "harmony": (HARMONY, "<|start|>assistant<|channel|>final<|message|>"),
}
FACT, QUESTION = "Mara lives in Brenport.", "Where does Mara live?"


@pytest.fixture(scope="module")
def base(tiny, tmp_path_factory):
    """A tokenizer that says nothing of its own, and its model, loaded with a template."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    shutil.copytree(tiny, folder)

    @functools.cache
    def load(template):
        file = folder.parent / "template.jinja"
        file.write_text(template)
        return LocalModel(folder, ModelConfig(device="cpu", chat_template=str(file)))

    return load


def plain(text):
    """As a tokenizer gives it back that spaces words otherwise."""
    return "".join(text.split())


def shown(local, chat):
    return plain(local.tokenizer.decode(local.prompt_ids(chat)))


@pytest.mark.parametrize("name", ENDS)
def test_memories_and_the_question_are_shown_and_then_the_answer_comes(base, name):
    template, end = ENDS[name]
    local = base(template)
    for chat in (open_book(QUESTION, [FACT]), closed_book(QUESTION)):
        text = shown(local, chat)
        assert (plain(FACT) in text) == (len(chat) > 1)
        assert plain(QUESTION) in text
        assert text.endswith(plain(end))
    assert shown(local, open_book(QUESTION, [FACT])).index(plain(FACT)) < shown(
        local, open_book(QUESTION, [FACT])
    ).index(plain(QUESTION))


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_a_system_message_that_is_refused_stands_in_turns_of_the_user(base, name):
    """The agent's own before the first words, memories before the last ones."""
    system, question = open_book(QUESTION, [FACT])
    system = {**system, "content": f"You are Max.\n{system['content']}"}
    before = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    text = shown(base(ENDS[name][0]), [system, *before, question])
    places = [text.index(plain(one)) for one in ("You are Max.", "Hi.", "Hello.", FACT, QUESTION)]
    assert places == sorted(places)


def test_turns_that_a_template_refuses_are_brought_into_its_order(base):
    turns = ["assistant: Welcome.", "user: I am Jon.", "user: Where is Mara?", "tool: Not here."]
    chat = []
    for turn in turns:
        role, text = turn.split(": ")
        chat.append({"role": role, "content": text})
    text = shown(base(MISTRAL), chat)
    places = [text.index(plain(turn.split(": ")[1])) for turn in turns]
    assert places == sorted(places)
    assert text.count("[INST]") == 2
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look"}}]}
    with pytest.raises(ModelError, match=r"does not take this conversation .*must alternate"):
        base(MISTRAL).prompt_ids([called, *chat])


def test_a_template_that_takes_no_turn_is_refused_when_the_model_is_loaded(base):
    with pytest.raises(ModelError, match="chat template"):
        base("{{ raise_exception('Nothing is taken') }}")


def test_a_memory_recalls_where_no_system_message_is_taken(new_folder, tiny, embeddings, tmp_path):
    file = tmp_path / "gemma.jinja"
    file.write_text(GEMMA)
    config = MemoryConfig(model=ModelConfig(device="cpu", chat_template=str(file)))
    with SleepMemory.open(new_folder, tiny, embeddings=embeddings, config=config) as memory:
        memory.observe(("alice",), FACT)
        assert memory.ask(("alice",), QUESTION).text


# Thoughts


def test_a_thought_is_no_part_of_an_answer():
    assert without_thought("<think>\nOkay, so\n</think>\n\nBrenport.") == "Brenport."
    assert without_thought("[THINK]Well.[/THINK]Brenport.") == "Brenport."
    assert without_thought("<think>\nIt takes longer than") == ""
    for text in ("Brenport.", "I think so.", "It is <think> that ends </think> it."):
        assert without_thought(text) == text


@pytest.fixture
def thinking(base):
    """A model of which every answer begins with a thought, where nothing else begins it."""
    local = base(CHATML)
    answer = [*local.encoding.text("<think> Okay. </think> Brenport."), local.ends[0]]
    made = []

    def speak(layer, inputs, logits):
        made.append(len(made))
        logits[..., -1, answer[min(len(made), len(answer)) - 1]] = 1e4

    hook = local.base.get_output_embeddings().register_forward_hook(speak)
    yield local, made
    hook.remove()


def test_a_thought_is_neither_given_nor_streamed(thinking):
    local, made = thinking
    assert local.answer(ASKED[:1]) == ["Brenport."]
    made.clear()
    assert "".join(local.stream(ASKED[0], (), max_new_tokens=32)).strip() == "Brenport."
    # Cut within its thought, it says nothing.
    made.clear()
    (reply,) = local.reply(ASKED[:1], max_new_tokens=6)
    assert (reply.text, reply.is_whole) == ("", False)


def test_a_model_that_begins_with_a_thought_is_given_an_empty_one(tiny, tmp_path, monkeypatch):
    """What "Hi there." is answered with tells it; another template closes it by itself."""
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    plain_ids = LocalModel(tiny, ModelConfig(device="cpu")).prompt_ids(ASKED[0])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save_pretrained(folder)
    began = tokenizer.convert_tokens_to_ids("<think>")

    def wide(model, *arguments, **named):
        logits = torch.zeros(1, 1, began + 2)
        logits[..., began if is_thinking else 0] = 1
        return type("Output", (), {"logits": logits})

    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "forward", wide)
    for is_thinking in (True, False):
        local = LocalModel(folder, ModelConfig(device="cpu"))
        ids = local.prompt_ids(ASKED[0])
        assert ids[: len(plain_ids)] == plain_ids
        rest = tokenizer.decode(ids[len(plain_ids) :])
        assert plain(rest) == ("<think></think>" if is_thinking else "")


def test_a_model_with_tools_may_choose_between_its_channels(base):
    local = base(HARMONY)
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    free = Prompt(closed_book(QUESTION), (tool,), in_control=True)
    assert shown(local, free).endswith("<|start|>assistant")
    assert shown(local, Prompt(closed_book(QUESTION), (tool,))).endswith("final<|message|>")
