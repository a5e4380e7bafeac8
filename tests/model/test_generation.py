"""Text in, text out, on the tiny model."""

import math
import threading

import pytest
import torch
from _weights import ASKED, logits, shake

from sleepmem.config import ModelConfig
from sleepmem.errors import EpisodeError, ExpertError
from sleepmem.model.generation import Watch, buckets, pad
from sleepmem.model.local import LocalModel
from sleepmem.model.tool_calls import Prompt
from sleepmem.text.prompts import closed_book, open_book


@pytest.fixture(scope="module")
def local(tiny):
    return LocalModel(tiny, ModelConfig(device="cpu"))


def read(stream):
    """The pieces of an answer, and what the stream returned."""
    pieces = []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            return pieces, end.value


# Whole answers


def test_it_counts_the_tokens_that_it_makes(tiny):
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    replies = local.reply([[{"role": "user", "content": "Who?"}]] * 3, max_new_tokens=4)
    assert len(replies) <= local.tokens_generated <= 12


def test_answers_come_in_order_and_alone_or_together(local):
    chats = []
    for number in (3, 0, 9, 1):
        chats.append(closed_book(f"Where does person number {number} live" + " now" * number + "?"))
    together = local.answer(chats, max_new_tokens=8)
    alone = [local.answer([chat], max_new_tokens=8)[0] for chat in chats]
    most, local.batch = local.batch, 2
    by_two = local.answer(chats, max_new_tokens=8)
    local.batch = most
    assert together == alone == by_two
    assert len(set(together)) > 1


def test_where_memory_runs_out_fewer_are_answered_at_once(tiny):
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    chats = [closed_book(f"Where is number {number}?" + " Or" * number) for number in range(7)]
    options = {"max_new_tokens": 6, "abstention": "I do not know."}
    replies, most, passes = local.reply(chats, **options), 2, []

    def forward(layer, ids):
        passes.append(len(ids[0]))
        if len(ids[0]) > most:
            raise torch.OutOfMemoryError("out of memory")

    local.base.get_input_embeddings().register_forward_pre_hook(forward)
    for fewer, reply in zip(local.reply(chats, **options), replies, strict=True):
        assert fewer.text == reply.text
        assert fewer.abstention == pytest.approx(reply.abstention, abs=1e-3)
    assert {1, 2, 7} <= set(passes)
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        local.reply(chats)


def test_an_answer_tells_whether_it_came_to_its_end(local):
    """Alone, in pieces, and beside one that goes on."""
    (cut,) = local.reply(ASKED[:1], max_new_tokens=12)
    stopping = Prompt(ASKED[0], stop=(cut.text[-6:],))
    ending = Prompt(ASKED[1], stop=(local.answer(ASKED[1:], max_new_tokens=12)[0][:8],))
    for chat, is_whole in ((ASKED[0], False), (stopping, True), (ending, True)):
        assert local.reply([chat], max_new_tokens=12)[0].is_whole == is_whole
        assert read(local.stream(chat, (), max_new_tokens=12))[1].is_whole == is_whole
    together = local.reply([ending, ASKED[0]], max_new_tokens=12)
    assert [reply.is_whole for reply in together] == [True, False]


def test_equal_prompts_are_read_once_and_answered_each(local):
    """What is read are the tokens that go through the layers."""
    chats = [closed_book("Where is it now, and who says so?"), closed_book("Who?")]
    alone = [local.answer([chat], max_new_tokens=8)[0] for chat in chats]
    read = []
    layer = local.base.get_input_embeddings()
    hook = layer.register_forward_hook(lambda layer, ids, out: read.append(ids[0].numel()))
    assert local.answer([*chats, *chats, chats[0]], max_new_tokens=8) == [*alone, *alone, alone[0]]
    hook.remove()
    width = len(local.prompt_ids(chats[0]))
    assert read[:2] == [2 * (width - 1), 5]
    drawn = local.answer([chats[0]] * 6, max_new_tokens=8, temperature=1.5)
    assert len(set(drawn)) > 1


def test_what_prompts_begin_with_is_read_once(local):
    lines = [
        f"2026-05-0{day}: Person number {day} lives in town number {day}." for day in (1, 2, 3)
    ]
    chats = []
    for shown in (lines, lines[:1], []):
        for number in (1, 22, 333):
            asked = f"Where does person number {number} live now?"
            chats.append(open_book(asked, shown) if shown else closed_book(asked))
    chats = [chats[place] for place in (4, 0, 7, 3, 8, 1, 6, 2, 5)]
    alone = [local.answer([chat], max_new_tokens=8)[0] for chat in chats]
    read = []
    layer = local.base.get_input_embeddings()
    hook = layer.register_forward_hook(lambda layer, ids, out: read.append(ids[0].numel()))
    assert local.answer(chats, max_new_tokens=8) == alone
    hook.remove()
    assert sum(read[:2]) < sum(len(local.prompt_ids(chat)) for chat in chats)


def test_how_likely_an_abstention_was_is_told_when_asked(local):
    (plain,) = local.reply(ASKED[:1], max_new_tokens=8)
    assert plain.abstention == -math.inf
    said = plain.text + "."
    chats = [*ASKED[:1], closed_book("Where does somebody else live now?")]
    both = local.reply(chats, max_new_tokens=8, abstention=said)
    (alone,) = local.reply(chats[1:], max_new_tokens=8, abstention=said)
    assert both[0].text == plain.text
    assert all(reply.abstention < 0 for reply in both)
    assert both[1].abstention == pytest.approx(alone.abstention, abs=1e-3)
    assert local.abstention(chats[1], (), text=said) == pytest.approx(alone.abstention, abs=1e-3)


def test_sampling_depends_on_its_seed_alone(local):
    def draw(number):
        return local.answer(ASKED, max_new_tokens=8, temperature=1.0, seed=number)

    state = torch.random.get_rng_state()
    assert draw(1) == draw(1) != draw(2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_nothing_asked_nothing_answered(local):
    assert local.answer([]) == []


def test_a_chat_longer_than_the_context_is_refused(local):
    with pytest.raises(EpisodeError, match="1024"):
        local.answer([closed_book("Brenport " * 1100)])


# How sure it was


def test_confidence_is_the_probability_where_the_answer_was_least_certain(local):
    questions = ["Hello.", "Where does Mara live?", "Who is the mayor of Brenport?"]
    chats = [closed_book(question) for question in questions]
    for chat, reply in zip(chats, local.reply(chats, max_new_tokens=6), strict=True):
        prompt = local.prompt_ids(chat)
        generated = local.base.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            max_new_tokens=6,
            do_sample=False,
        )
        completion = generated[0, len(prompt) :].tolist()
        with local.view(()):
            likeliest = local.logits([prompt], [completion]).softmax(-1).amax(-1)
        assert reply.confidence == pytest.approx(likeliest.min().item(), rel=1e-3)


def test_confidence_ends_with_the_answer():
    watch = Watch()
    for likeliest in (0.9, 0.8, 0.6):
        probabilities = torch.tensor([[likeliest, 1 - likeliest]] * 2)
        watch(torch.zeros(2, 1), torch.log(probabilities))
    confidences = watch.confidence(torch.tensor([[5, 7, 0], [5, 6, 6]]), [7, 0])
    assert confidences == pytest.approx([0.8, 0.6])


# In pieces


def test_a_stream_is_the_answer_in_pieces_and_its_confidence(tiny):
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    local.add_expert("e", 4)
    shake(local, "e")
    for experts in ((), ("e",)):
        (reply,) = local.reply(ASKED[:1], experts, max_new_tokens=12)
        pieces, whole = read(local.stream(ASKED[0], experts, max_new_tokens=12))
        assert "".join(pieces).strip() == whole.text == reply.text
        assert whole.confidence == pytest.approx(reply.confidence, rel=1e-3)


def test_a_stream_draws_as_a_whole_answer_does(local):
    """Of all tokens, not of the likeliest alone."""
    for seed in range(4):
        (whole,) = local.answer(ASKED[:1], max_new_tokens=12, temperature=2.0, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pieces, _ = read(local.stream(ASKED[0], (), max_new_tokens=12, temperature=2.0))
        assert "".join(pieces).strip() == whole


def test_a_stream_that_fails_ends_with_the_error(local):
    with pytest.raises(ExpertError, match="stranger"):
        read(local.stream(ASKED[0], ("stranger",), max_new_tokens=4))
    assert read(local.stream(ASKED[0], (), max_new_tokens=4))[0]


def test_a_stream_that_is_left_generates_no_further(tiny):
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    left, passes = threading.Event(), []

    def forward(layer, ids, out):
        passes.append(left.is_set())
        if len(passes) > 3:
            left.wait(10)

    local.base.get_input_embeddings().register_forward_hook(forward)
    stream = local.stream(ASKED[0], (), max_new_tokens=100)
    next(stream)
    stream.close()
    left.set()
    with local.view(()):  # free again
        assert passes.count(True) <= 1


def test_an_answer_ends_where_the_context_does(tiny):
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    short = local.answer(ASKED[:1], max_new_tokens=3)
    assert short != local.answer(ASKED[:1], max_new_tokens=50)
    local.context_length = len(local.prompt_ids(ASKED[0])) + 3
    assert local.answer(ASKED[:1], max_new_tokens=10**9) == short
    pieces, _ = read(local.stream(ASKED[0], (), max_new_tokens=10**9))
    assert "".join(pieces).strip() == short[0]


# Logits of given text


def test_logits_of_many_rows_are_those_of_each(local):
    questions = [closed_book("Where" + " now" * count) for count in (40, 0, 3)]
    prompts = [local.prompt_ids(chat) for chat in questions]
    texts = ("Brenport.", "In the old town of Oslo.", "No.")
    completions = [local.answer_ids(text) for text in texts]
    with torch.no_grad():
        together = local.logits(prompts, completions)
        alone = []
        for prompt, completion in zip(prompts, completions, strict=True):
            alone.append(local.logits([prompt], [completion]))
    assert together.shape == (sum(map(len, completions)), 1024)
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_logits_are_those_of_the_view_that_is_on(tiny):
    local = LocalModel(tiny, ModelConfig(device="cpu"))
    off = logits(local)
    local.add_expert("e", 4)
    shake(local, "e")
    assert not torch.allclose(logits(local, ["e"]), off, atol=1e-2)
    assert torch.equal(logits(local), off)


# Rows of one length


def test_rows_are_padded_in_front_or_behind():
    padded = pad([[5], [6, 7]], 0, left=True)
    assert padded.ids_R_T.tolist() == [[0, 5], [6, 7]]
    assert padded.mask_R_T.tolist() == [[0, 1], [1, 1]]
    padded = pad([[5], [6, 7]], 0, left=False)
    assert padded.ids_R_T.tolist() == [[5, 0], [6, 7]]
    assert padded.mask_R_T.tolist() == [[1, 0], [1, 1]]


def test_a_long_row_is_padded_with_no_short_ones():
    assert buckets([100, 4, 900, 20, 90]) == [[1, 3], [4, 0], [2]]
    assert buckets([]) == []


def test_a_pass_has_so_many_tokens_at_most():
    assert buckets([10, 11, 10, 12, 50], tokens=24) == [[0, 2], [1, 3], [4]]
