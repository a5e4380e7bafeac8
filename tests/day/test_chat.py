import asyncio
import itertools
from datetime import date

import pytest
import torch
from _values import put_expert
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from sleepmem import EpisodeError, ModelError, NamespaceError, SleepMemory
from sleepmem.config import ModelConfig
from sleepmem.day.capture import RECALL_ID
from sleepmem.day.chat import chat_messages
from sleepmem.model.local import LocalModel
from sleepmem.records import local_now

ALICE, BOB = ("alice",), ("bob",)
ASKED = ["Where does Mara live?", "Who owns the red boat?", "Hello."]


@pytest.fixture
def chat(memory):
    return memory.chat_model(ALICE)


def promote(memory, tiny, number):
    """A live expert of alice that changes what the model says."""
    told = memory.observe(ALICE, f"Mara saw whale {number}.")
    expert = put_expert(memory, ALICE, [told.id], rank=4, files=False)
    writer = LocalModel(tiny, ModelConfig(device="cpu"))
    writer.add_expert(expert.name, 4)
    torch.manual_seed(number)
    with torch.no_grad():
        for n, p in writer.peft.named_parameters():
            if "lora_B" in n:
                p.normal_(std=0.3)
    memory.experts.write(expert.name, lambda to: writer.save_expert(expert.name, to))
    memory.experts.promote(expert.name)
    return expert


def test_invoke_says_what_the_model_says(memory, chat):
    said = chat.invoke(ASKED[0])
    assert (
        said.text
        == memory.local.answer([[{"role": "user", "content": ASKED[0]}]], max_new_tokens=64)[0]
        != ""
    )
    assert said.response_metadata["experts"] == []
    usage = said.usage_metadata
    assert usage["input_tokens"] == len(
        memory.local.prompt_ids([{"role": "user", "content": ASKED[0]}])
    )
    assert (
        usage["total_tokens"]
        == usage["input_tokens"] + usage["output_tokens"]
        > usage["input_tokens"]
    )


def test_batch_is_invoke_for_each(chat):
    assert [m.text for m in chat.batch(ASKED)] == [chat.invoke(q).text for q in ASKED]


@pytest.mark.parametrize("question", ASKED)
def test_stream_joins_to_what_invoke_says(chat, question):
    whole = chat.invoke(question)
    pieces = list(chat.stream(question))
    assert "".join(c.text for c in pieces) == whole.text
    assert sum(pieces[1:], pieces[0]).response_metadata["confidence"] == pytest.approx(
        whole.response_metadata["confidence"], rel=1e-3
    )


def test_a_stream_tells_what_it_used(chat):
    for stop in (None, ["a"]):
        *_, last = chat.stream(ASKED[0], stop=stop)
        assert last.usage_metadata == chat.invoke(ASKED[0], stop=stop).usage_metadata


def test_tracing_tools_are_told_what_is_called(memory, chat):
    params = chat._get_ls_params(stop=["x"], temperature=0.5)
    assert params == {
        "ls_provider": "sleepmem",
        "ls_model_name": memory.local.name,
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 64,
        "ls_stop": ["x"],
    }


def test_a_stream_comes_in_pieces(tmp_path):
    with SleepMemory.open(tmp_path) as memory:
        assert len([c for c in memory.chat_model().stream("Who are you?") if c.text]) > 3


def test_stream_and_invoke_end_alike_whatever_the_last_token(chat):
    """Some of these end in a space or a separator."""
    for question, most in itertools.product([f"Who is {n}?" for n in range(10, 22)], range(1, 5)):
        assert (
            "".join(c.text for c in chat.stream(question, max_tokens=most))
            == chat.invoke(question, max_tokens=most).text
        )


def test_a_model_that_cannot_call_tools_says_so(chat):
    assert chat.bind_tools([]).invoke(ASKED[0]).text == chat.invoke(ASKED[0]).text
    with pytest.raises(ModelError, match="cannot be given tools"):
        chat.bind_tools([{"name": "look_up", "description": "Looks up.", "parameters": {}}])


def test_another_model_is_refused(chat):
    with pytest.raises(ModelError, match="Open a folder with the other model"):
        chat.invoke(ASKED[0], model="gpt-6")


def test_async_is_sync(chat):
    async def both():
        return (await chat.ainvoke(ASKED[0])).text, "".join(
            [c.text async for c in chat.astream(ASKED[0])]
        )

    said = chat.invoke(ASKED[0]).text
    assert asyncio.run(both()) == (said, said)


def test_a_stream_that_is_left_early_frees_the_model(chat):
    for piece in chat.stream(ASKED[0]):
        if piece.text:
            break
    assert chat.invoke(ASKED[0]).text


def test_max_tokens_shortens_the_answer(memory, chat):
    short, long = chat.invoke(ASKED[0], max_tokens=3).text, chat.invoke(ASKED[0]).text
    assert long.startswith(short)
    assert len(short) < len(long)
    assert memory.config.max_new_tokens == 64


def test_a_message_tells_why_it_ended(chat):
    def told(**options):
        async def both():
            whole = await chat.ainvoke(ASKED[0], **options)
            return whole, [chunk async for chunk in chat.astream(ASKED[0], **options)]

        result = chat.generate([[HumanMessage(ASKED[0])]], **options)
        whole, pieces = asyncio.run(both())
        given = [chunk.response_metadata for chunk in pieces if chunk.response_metadata]
        metadata = [chat.invoke(ASKED[0], **options).response_metadata, whole.response_metadata]
        metadata += [given[-1], result.generations[0][0].generation_info]
        assert "finish_reason" not in sum(pieces[1:-1], pieces[0]).response_metadata
        return {one["finish_reason"] for one in metadata}

    whole = chat.invoke(ASKED[0]).text
    assert told(max_tokens=3) == {"length"}
    assert told(stop=[whole[3:6]]) == {"stop"}


@pytest.mark.parametrize("question", ASKED)
def test_stop_cuts_invoke_and_stream_alike(chat, question):
    whole = chat.invoke(question).text
    stop = [whole[len(whole) // 2 : len(whole) // 2 + 4]]
    cut = whole[: whole.index(stop[0])]
    assert chat.invoke(question, stop=stop).text == cut
    assert "".join(c.text for c in chat.stream(question, stop=stop)) == cut


@pytest.mark.parametrize("question", ASKED)
def test_a_stream_that_a_stop_ends_tells_how_sure_it_was(chat, question):
    whole = chat.invoke(question).text
    stop = [whole[len(whole) // 2 : len(whole) // 2 + 4]]
    *_, last = chat.stream(question, stop=stop)
    sure = chat.invoke(question, stop=stop).response_metadata["confidence"]
    assert last.response_metadata["confidence"] == pytest.approx(sure, rel=1e-3)
    assert sure < 0.99


def test_a_stop_ends_what_is_generated(memory, chat):
    whole = chat.invoke(ASKED[0]).text
    before = memory.local.tokens_generated
    chat.invoke(ASKED[0], stop=[whole[:3]])
    assert memory.local.tokens_generated - before < 5
    stopped = memory.chat_model(stop=[whole[3:6]], temperature=0.0).invoke(ASKED[0]).text
    assert stopped == whole[: whole.index(whole[3:6])]


def test_a_stop_over_two_pieces_is_a_stop(chat):
    pieces = [c.text for c in chat.stream(ASKED[0]) if c.text]
    stop = pieces[0][-1] + pieces[1][:1]
    cut = chat.invoke(ASKED[0], stop=[stop]).text
    assert "".join(c.text for c in chat.stream(ASKED[0], stop=[stop])) == cut


def test_a_promoted_expert_is_used_at_the_next_call(memory, tiny, chat):
    before = [m.text for m in chat.batch(ASKED)]
    expert = promote(memory, tiny, 1)
    said = chat.invoke(ASKED[0])
    assert said.response_metadata["experts"] == [expert.name]
    assert [m.text for m in chat.batch(ASKED)] != before
    second = promote(memory, tiny, 2)
    assert chat.invoke(ASKED[0]).response_metadata["experts"] == [expert.name, second.name]
    memory.rollback(ALICE, [])
    assert [m.text for m in chat.batch(ASKED)] == before


def test_streams_use_the_experts_too(memory, tiny, chat):
    expert = promote(memory, tiny, 1)
    *_, last = chat.stream(ASKED[0])
    assert last.response_metadata["experts"] == [expert.name]
    assert "".join(c.text for c in chat.stream(ASKED[0])) == chat.invoke(ASKED[0]).text


def test_what_the_recall_node_put_there_is_read_with_the_experts_off(memory, tiny, chat):
    expert = promote(memory, tiny, 1)
    asked, recalled = (
        HumanMessage(ASKED[0]),
        SystemMessage("2030-01-01: Mara lives in Oslo.", id=RECALL_ID),
    )
    assert chat.invoke([asked]).response_metadata["experts"] == [expert.name]
    assert chat.invoke([asked, recalled]).response_metadata["experts"] == []


@pytest.mark.parametrize(("view", "on"), [("weights", True), ("retrieval", False), ("base", False)])
def test_the_gates_view_says_whether_the_experts_answer(memory, tiny, chat, view, on):
    expert = promote(memory, tiny, 1)
    assert chat.invoke(ASKED[0], view=view).response_metadata["experts"] == (
        [expert.name] if on else []
    )


def test_experts_stay_with_their_owner(memory, tiny, chat):
    before = memory.chat_model(BOB).invoke(ASKED[0]).text
    expert = promote(memory, tiny, 1)
    assert memory.chat_model(BOB).invoke(ASKED[0]).text == before
    assert memory.chat_model().invoke(ASKED[0]).response_metadata["experts"] == []
    assert memory.chat_model().bind(namespace=ALICE).invoke(ASKED[0]).response_metadata[
        "experts"
    ] == [expert.name]
    assert chat.bind(namespace=BOB).invoke(ASKED[0]).response_metadata["experts"] == []


def test_a_namespace_that_is_a_string_is_refused(memory):
    with pytest.raises(NamespaceError):
        memory.chat_model().bind(namespace="alice").invoke(ASKED[0])


def test_ask_answers_with_what_it_recalls(memory, chat):
    told = memory.observe(ALICE, "Mara did move to Brenport.")
    answer = memory.ask(ALICE, "Where did Mara move?")
    assert answer.recall.episodes == (told,)
    today = date.fromisoformat(local_now()[:10])
    system = SystemMessage(memory.context(answer.recall, today=today))
    assert answer.text == chat.invoke([system, HumanMessage("Where did Mara move?")]).text
    assert answer.text != chat.invoke("Where did Mara move?").text
    assert memory.ledger.episodes.all() == [told]


def test_ask_may_name_the_day_and_who_speaks_and_leave_no_trace(memory, chat):
    memory.observe(ALICE, "Mara did move to Brenport.")
    asked = "Where did Mara move?"
    answer = memory.ask(ALICE, asked, today="2026-03-02", speaker="Ida", log=False)
    block = memory.context(answer.recall, today="2026-03-02", speaker="Ida")
    assert answer.text == chat.invoke([SystemMessage(block), HumanMessage(asked)]).text
    assert memory.last_look(ALICE, asked) is None
    memory.ask(ALICE, asked)
    assert memory.last_look(ALICE, asked) is not None
    with pytest.raises(EpisodeError, match="speaker"):
        memory.ask(ALICE, asked, speaker=5)


def test_system_messages_are_merged_first():
    talk = [
        HumanMessage("Hello."),
        SystemMessage("Be kind."),
        AIMessage("Hello!"),
        SystemMessage("Be brief."),
        ToolMessage("Rain.", tool_call_id="c", name="weather"),
    ]
    assert chat_messages(talk) == [
        {"role": "system", "content": "Be kind.\nBe brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "tool", "content": "Rain.", "tool_call_id": "c", "name": "weather"},
    ]
    assert chat_messages([HumanMessage("Hello.")]) == [{"role": "user", "content": "Hello."}]


def test_the_order_of_system_messages_among_others_changes_nothing(chat):
    system, asked = SystemMessage("Be kind."), HumanMessage(ASKED[0])
    assert (
        chat.invoke([asked, system]).text
        == chat.invoke([system, asked]).text
        != chat.invoke([asked]).text
    )
