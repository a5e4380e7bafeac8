"""Experts of the tiny model that change something, and what it then says."""

import torch

from sleepmem.text.prompts import closed_book

ASKED = [closed_book("Where does Mara live?"), closed_book("Who owns the red boat?")]


def logits(local, experts=()):
    with local.view(experts), torch.no_grad():
        return local.logits(
            [local.prompt_ids(c) for c in ASKED], [local.answer_ids("In Brenport.")] * 2
        ).clone()


def shake(local, expert, seed=1, std=0.3):
    """Give the expert weights that change something."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for n, p in local.peft.named_parameters():
            if f".{expert}." in n:
                p.normal_(std=std)
