"""Read the gate's thresholds off data: `make bench-gate`.

Facts of the embedded model's world. A third is known (its questions are indexed as after a night), a third is known and was corrected since (the correction
waits in the buffer), a third was never learned and waits in the buffer. Questions in held-out wordings. First table, by `known`: questions about known facts
that are near enough (the saving), and questions about something else that are (the risk; the model can still abstain). Second table, by
`near`: corrected facts whose correction is seen, and known facts that are read without need because the buffer names their subject.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated

import typer

from sleepmem.day.gate import about
from sleepmem.embedded import relations, world
from sleepmem.text.embeddings import MiniLMEmbeddings
from sleepmem.text.similarity import cosine


def main(
    facts: Annotated[int, typer.Option(help="Facts, a third of each kind.", min=3)] = 300,
    seed: int = 0,
) -> None:
    rng, embeddings = random.Random(seed), MiniLMEmbeddings()
    subjects = [world.subject(rng, True) for _ in range(facts // 4)]
    told = {(f := world.fact(rng, rng.choice(subjects), test=True)).key: f for _ in range(facts)}
    keys = list(told)
    known, corrected, waiting = keys[::3], keys[1::3], keys[2::3]
    taught = {k: world.say(rng, told[k]) for k in keys}
    fresh = [
        world.say(
            rng, world.fact(rng, (k[0], relations.RELATIONS[k[1]].kind), test=True, relation=k[1])
        )
        for k in corrected
    ] + [taught[k] for k in waiting]
    questions = {world.ask(rng, k, framed=False) for k in [*known, *corrected] for _ in range(5)}
    asked = {k: world.ask(rng, k, held_out=True) for k in keys}

    def cosines(text: str, others: list[str]) -> list[float]:
        one = embeddings.embed_query(text)
        return [cosine(one, v) for v in embeddings.embed_documents(others)]

    nearest, freshest = {}, {}
    for k, text in asked.items():
        near = [
            (c, q)
            for c, q in zip(cosines(text, list(questions)), questions, strict=True)
            if about(text, q)
        ]
        nearest[k] = max(near, default=(0.0, ""))[0]
        freshest[k] = max(
            (c for c, t in zip(cosines(text, fresh), fresh, strict=True) if about(text, t)),
            default=-1.0,
        )

    def share(of: Sequence[tuple[str, str]], true: list[bool]) -> float:
        return sum(true) / len(of)

    print("known   near enough  wrongly")
    for at in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        print(
            f"{at:5.2f}  {share(known, [nearest[k] >= at for k in known]):12.3f} {share(waiting, [nearest[k] >= at for k in waiting]):8.3f}"
        )
    print("  near  correction seen  read without need")
    for at in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        seen, held = ([freshest[k] >= at for k in of] for of in (corrected, known))
        print(f"{at:6.2f} {share(corrected, seen):16.3f} {share(known, held):10.3f}")


if __name__ == "__main__":
    typer.run(main)
