"""A teacher's likeliest tokens, and the rest as one class."""

import pytest
import torch

from sleepmem.night.expected import Expected, classes


def divergence(teacher_N_V, student_N_V, kept):
    """From the student to the teacher, over the classes."""
    teacher = Expected.of(teacher_N_V, kept)
    log_teacher = teacher.logits_N_C.log_softmax(-1)
    log_student = classes(student_N_V, teacher.token_N_k).log_softmax(-1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum().item()


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return 3 * torch.randn(5, 200), 3 * torch.randn(5, 200)


def test_classes_are_the_likeliest_and_the_rest(logits):
    teacher, _ = logits
    expected = Expected.of(teacher, 10)
    shares = expected.logits_N_C.exp()
    assert shares.shape == (5, 11)
    assert torch.allclose(shares.sum(-1), torch.ones(5))
    assert torch.allclose(shares[:, :10], teacher.softmax(-1).topk(10).values)
    assert expected.nbytes == 5 * (10 + 11) * 4


def test_a_small_vocabulary_is_kept_whole(logits):
    teacher, _ = logits
    expected = Expected.of(teacher, 200)
    assert torch.equal(expected.logits_N_C, teacher)
    assert torch.equal(classes(teacher, expected.token_N_k), teacher)


def test_the_more_are_kept_the_nearer_to_the_whole_from_below(logits):
    some, more, whole = (divergence(*logits, kept) for kept in (5, 50, 200))
    assert 0 < some < more < whole


def test_who_is_certain_leaves_nothing_to_the_rest():
    sure = torch.zeros(1, 50)
    sure[0, 7] = 100.0
    student = torch.randn(1, 50, requires_grad=True)
    expected = Expected.of(sure, 4)
    loss = -(expected.logits_N_C.exp() * classes(student, expected.token_N_k)).sum()
    loss.backward()
    assert loss.item() == pytest.approx(-student.log_softmax(-1)[0, 7].item(), abs=1e-3)
    assert torch.isfinite(student.grad).all()
