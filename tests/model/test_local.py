"""Truths about adapters, on the tiny model."""

import json
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from _weights import ASKED, logits, shake

from sleepmem.config import SeedingConfig
from sleepmem.errors import EpisodeError, ExpertError, FolderError, ModelError
from sleepmem.model.generation import Watch
from sleepmem.model.local import LocalModel
from sleepmem.night.seeding import Row, RowKind, seed
from sleepmem.stores.expert_folder import check_expert, write_checksums
from sleepmem.text.prompts import closed_book

TWO = ["first", "second"]


@pytest.fixture
def local(tiny):
    return LocalModel(tiny, device="cpu")


def weights(local, expert):
    return {n: p.detach().clone() for n, p in local.peft.named_parameters() if f".{expert}." in n}


def base(local):
    """The frozen weights, by the names they have without adapters."""
    clean = (
        (n.replace("base_model.model.", "").replace("base_layer.", ""), p)
        for n, p in local.model.named_parameters()
    )
    return {n: p.detach().clone() for n, p in clean if "lora_" not in n}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


# On and off


def test_a_new_expert_changes_nothing_yet(local):
    before = logits(local)
    local.add_expert("e", 4)
    assert torch.allclose(logits(local, ["e"]), before, atol=1e-5)


def test_training_changes_the_expert_and_not_the_base(local):
    before, off = base(local), logits(local)
    local.add_expert("e", 4)
    new = weights(local, "e")
    row = Row(RowKind.FACT, ASKED[0], ASKED[1], "In Brenport.")
    seed(
        local, "e", (), [row], SeedingConfig(steps=2, batch=2, lambda_=0), lambda made, wanted: 0.0
    )
    assert same(base(local), before)
    assert not any(torch.equal(new[n], w) for n, w in weights(local, "e").items() if "lora_B" in n)
    assert torch.equal(logits(local), off)
    assert not torch.allclose(logits(local, ["e"]), off, atol=1e-4)


def test_off_is_as_before_and_so_is_dropped(local):
    before, off = base(local), logits(local)
    local.add_expert("e", 4)
    shake(local, "e")
    assert not torch.allclose(logits(local, ["e"]), off, atol=1e-2)
    assert torch.equal(logits(local), off)
    local.drop_expert("e")
    assert local.experts == ()
    assert same(base(local), before)
    assert torch.equal(logits(local), off)


def test_it_counts_the_tokens_that_it_makes(local):
    made = local.reply([[{"role": "user", "content": "Who?"}]] * 3, max_new_tokens=4)
    assert len(made) <= local.tokens_generated <= 12


def test_the_seed_alone_decides_how_an_expert_begins(local):
    torch.manual_seed(7)
    kept = torch.random.get_rng_state()
    for name, number in (("first", 3), ("second", 3), ("third", 4)):
        local.add_expert(name, 4, number)
    first, second, third = (
        [w for n, w in weights(local, name).items() if "lora_A" in n]
        for name in ("first", "second", "third")
    )
    assert all(map(torch.equal, first, second))
    assert not any(map(torch.equal, first, third))
    assert torch.equal(
        torch.random.get_rng_state(), kept
    )  # the caller's own randomness is left alone


def test_experts_sit_on_the_mlp_alone(local):
    local.add_expert("e", 4)
    assert all(".mlp." in n for n in weights(local, "e"))


def test_order_of_experts_is_irrelevant(local):
    for n, name in enumerate(TWO):
        local.add_expert(name, 4)
        shake(local, name, n)
    assert torch.allclose(logits(local, TWO), logits(local, TWO[::-1]), atol=1e-4)
    for one in TWO:
        assert not torch.allclose(logits(local, TWO), logits(local, [one]), atol=1e-2)


def test_dropping_one_leaves_the_other(local):
    for n, name in enumerate(TWO):
        local.add_expert(name, 4)
        shake(local, name, n)
    kept = logits(local, ["second"])
    local.drop_expert("first")
    local.drop_expert("first")  # gone already: nothing to do
    assert local.experts == ("second",)
    assert torch.equal(logits(local, ["second"]), kept)


# Views


def test_a_view_holds_whatever_happens_inside(local):
    for n, name in enumerate((*TWO, "third")):
        local.add_expert(name, 4)
        shake(local, name, n)
    ids = torch.tensor([local.prompt_ids(ASKED[0])])
    with torch.no_grad(), local.view(()) as model:
        base = model(input_ids=ids).logits
        with local.view(["first"]):
            pass
        assert torch.equal(model(input_ids=ids).logits, base)
    with torch.no_grad(), local.view(TWO) as model:
        both = model(input_ids=ids).logits
        local.drop_expert("third")
        assert torch.allclose(model(input_ids=ids).logits, both, atol=1e-5)


def test_a_view_restores_on_leaving(local):
    local.add_expert("e", 4)
    shake(local, "e")
    with local.view(["e"]):
        on = logits(local, ["e"])
        with local.view([]):
            pass
        with torch.no_grad():
            inside = local.logits(
                [local.prompt_ids(c) for c in ASKED], [local.answer_ids("In Brenport.")] * 2
            )
    assert torch.equal(inside, on)
    assert not torch.allclose(logits(local), on, atol=1e-2)


def test_a_view_restores_on_an_exception(local):
    off = logits(local)
    local.add_expert("e", 4)
    shake(local, "e")

    def breaks():
        with local.view(["e"], training="e"):
            raise RuntimeError("something broke")

    with pytest.raises(RuntimeError, match="something broke"):
        breaks()
    with torch.no_grad():
        now = local.logits(
            [local.prompt_ids(c) for c in ASKED], [local.answer_ids("In Brenport.")] * 2
        )
    assert torch.equal(now, off)
    assert not any(p.requires_grad for p in local.model.parameters())


def test_only_the_expert_in_training_has_gradients(local):
    for name in TWO:
        local.add_expert(name, 4)
    with local.view(TWO, training="second"):
        assert {n.split(".")[-2] for n, p in local.peft.named_parameters() if p.requires_grad} == {
            "second"
        }
    assert not any(p.requires_grad for p in local.model.parameters())


@pytest.mark.parametrize("loaded", [False, True])
def test_a_view_of_an_unknown_expert_is_refused_and_does_no_harm(local, loaded):
    if loaded:
        local.add_expert("e", 4)
    off = logits(local)
    with pytest.raises(ExpertError, match="stranger"), local.view(["stranger"]):
        pass
    assert torch.equal(logits(local), off)
    local.add_expert("f", 4)
    assert "f" in local.experts


# Files


@pytest.fixture
def saved(local, tmp_path):
    local.add_expert("e", 4)
    shake(local, "e")
    local.save_expert("e", tmp_path / "e")
    return tmp_path / "e"


def test_save_and_load_are_equal(local, saved, tiny):
    fresh = LocalModel(tiny, device="cpu")
    fresh.load_expert("e", saved)
    assert same(weights(fresh, "e"), weights(local, "e"))
    assert torch.equal(logits(fresh, ["e"]), logits(local, ["e"]))
    assert torch.equal(logits(fresh), logits(local))


def test_a_second_expert_is_loaded_beside_the_first(local, saved, tiny):
    fresh = LocalModel(tiny, device="cpu")
    fresh.add_expert("other", 2)
    fresh.load_expert("e", saved)
    fresh.load_expert("e", saved)  # in memory already: nothing to do
    assert torch.equal(logits(fresh, ["e"]), logits(local, ["e"]))


def test_a_new_expert_is_born_beside_a_loaded_one(local, saved, tiny):
    """The second night: what earlier nights taught is loaded, tonight's is new."""
    fresh = LocalModel(tiny, device="cpu")
    fresh.load_expert("e", saved)
    fresh.add_expert("tonight", 4)
    assert [n.replace(".e.", ".tonight.") for n in weights(fresh, "e")] == list(
        weights(fresh, "tonight")
    )
    assert torch.allclose(logits(fresh, ["e", "tonight"]), logits(local, ["e"]), atol=1e-5)


def test_a_saved_expert_is_safetensors_and_its_checksums(saved):
    assert {f.name for f in saved.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "sha256.json",
    }
    check_expert(saved)
    assert [f.name for f in saved.parent.iterdir()] == ["e"]


@pytest.mark.parametrize(
    "broken", ["adapter_model.safetensors", "adapter_config.json", "sha256.json"]
)
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_a_damaged_expert_is_refused(saved, tiny, broken, how):
    file = saved / broken
    file.unlink() if how == "missing" else file.write_bytes(file.read_bytes()[:-1] + b"?")
    fresh = LocalModel(tiny, device="cpu")
    with pytest.raises(ExpertError, match=str(saved)):
        fresh.load_expert("e", saved)
    assert fresh.experts == ()


def test_a_missing_expert_is_refused(local, tmp_path):
    with pytest.raises(ExpertError, match="missing"):
        local.load_expert("e", tmp_path / "nowhere")
    assert isinstance(ExpertError("x"), LookupError)


def test_a_file_too_many_is_damage(saved):
    (saved / "notes.txt").write_text("hello")
    with pytest.raises(ExpertError, match="damaged"):
        check_expert(saved)


def test_checksums_cover_every_file(tmp_path):
    (tmp_path / "a").write_text("1")
    write_checksums(tmp_path)
    assert list(json.loads((tmp_path / "sha256.json").read_text())) == ["a"]


@pytest.mark.parametrize("where", ["/proc/sleepmem/e", "{tmp}/file/e"])
def test_an_unwritable_place_is_a_folder_error(local, tmp_path, where):
    (tmp_path / "file").write_text("in the way")
    local.add_expert("e", 4)
    with pytest.raises(FolderError, match="could not be written"):
        local.save_expert("e", Path(where.format(tmp=tmp_path)))
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


@contextmanager
def full_disk(left):
    """No file can grow beyond `left` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (left, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_a_folder_error_and_leaves_nothing(local, tmp_path):
    local.add_expert("e", 4)
    with pytest.raises(FolderError, match="could not be written"), full_disk(1000):
        local.save_expert("e", tmp_path / "e")
    assert list(tmp_path.iterdir()) == []


def test_an_expert_is_never_overwritten(local, saved):
    kept = (saved / "sha256.json").read_text()
    shake(local, "e", 2)
    with pytest.raises(FolderError):
        local.save_expert("e", saved)
    assert (saved / "sha256.json").read_text() == kept
    assert [f.name for f in saved.parent.iterdir()] == ["e"]


# Text in, text out


def test_answers_come_in_order_and_alone_or_together(local):
    chats = [
        closed_book(f"Where does person number {n} live" + " now" * n + "?") for n in (3, 0, 9, 1)
    ]
    together = local.answer(chats, max_new_tokens=8)
    assert (
        together
        == [local.answer([c], max_new_tokens=8)[0] for c in chats]
        == local.answer(chats, max_new_tokens=8, batch=2)
    )
    assert len(set(together)) > 1


def test_sampling_depends_on_its_seed_alone(local):
    def draw(number):
        return local.answer(ASKED, max_new_tokens=8, temperature=1.0, seed=number)

    assert draw(1) == draw(1) != draw(2)


def test_confidence_is_the_probability_where_the_answer_was_least_certain(local):
    chats = [
        closed_book(q) for q in ("Hello.", "Where does Mara live?", "Who is the mayor of Brenport?")
    ]
    for chat, reply in zip(chats, local.reply(chats, max_new_tokens=6), strict=True):
        prompt = local.prompt_ids(chat)
        made = local.base.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            max_new_tokens=6,
            do_sample=False,
        )
        with local.view(()):
            probabilities = (
                local.logits([prompt], [made[0, len(prompt) :].tolist()]).softmax(-1).amax(-1)
            )
        assert reply.confidence == pytest.approx(probabilities.min().item(), rel=1e-3)


def test_confidence_ends_with_the_answer():
    watch = Watch()
    for p in (0.9, 0.8, 0.6):
        watch(torch.zeros(2, 1), torch.log(torch.tensor([[p, 1 - p], [p, 1 - p]])))
    assert watch.confidence(torch.tensor([[5, 7, 0], [5, 6, 6]]), [7, 0]) == pytest.approx(
        [0.8, 0.6]
    )


def test_nothing_asked_nothing_answered(local):
    assert local.answer([]) == []


def test_logits_of_many_rows_are_those_of_each(local):
    asked = [local.prompt_ids(closed_book("Where" + " now" * n)) for n in (40, 0, 3)]
    said = [local.answer_ids(t) for t in ("Brenport.", "In the old town of Oslo.", "No.")]
    with torch.no_grad():
        together = local.logits(asked, said)
        alone = torch.cat([local.logits([a], [s]) for a, s in zip(asked, said, strict=True)])
    assert together.shape == (sum(map(len, said)), 1024)
    assert torch.allclose(together, alone, atol=1e-4)


def test_a_chat_longer_than_the_context_is_refused(local):
    with pytest.raises(EpisodeError, match="1024"):
        local.answer([closed_book("Brenport " * 1100)])


def test_no_model_no_chat(tmp_path):
    with pytest.raises(ModelError, match="could not be loaded"):
        LocalModel(tmp_path)
