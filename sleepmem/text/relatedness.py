"""What a cosine of some embeddings means: how likely two texts are about the same.

Cosines of different embeddings lie in different places, so a threshold typed in for one is wrong
for the next. Here each is measured on the same questions and answers, of several languages, by the
two normal distributions of related and unrelated pairs (linear discriminant analysis, Fisher 1936).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

# What is told, and what may be asked about it later.
PAIRS = (
    ("My sister works at the hospital.", "Where does my sister have her job?"),
    ("I can't eat gluten.", "Suggest me something for dinner that I may eat."),
    ("The spare key lies under the flower pot.", "where's the key"),
    ("Our meeting was moved to Thursday at nine.", "When do we meet?"),
    ("We named the new puppy Biscuit.", "What is our dog called?"),
    ("The invoice number is 48213.", "Which number does the invoice have?"),
    ("He plays the violin in an orchestra.", "Which instrument does he play?"),
    ("Mein Vater wird im Juni siebzig.", "Wie alt ist mein Vater?"),
    ("Ich habe das Fahrrad verkauft.", "Habe ich noch ein Fahrrad?"),
    ("Der Arzt hat mir Kaffee verboten.", "Darf ich Kaffee trinken?"),
    ("J'ai garé la voiture au niveau trois.", "Où est ma voiture ?"),
    ("Le mot de passe du serveur est tournesol.", "quel est le mot de passe"),
    ("Mi hija estudia medicina en Sevilla.", "¿Qué estudia mi hija?"),
    ("No me gusta el cilantro.", "Recomiéndame una receta que me guste"),
    ("Moja siostra pracuje w szpitalu.", "Gdzie pracuje moja siostra?"),
    ("Abbiamo prenotato il volo per martedì.", "Quando partiamo?"),
    ("我哥哥在北京工作。", "我哥哥在哪里工作？"),
    ("会议改到星期四了。", "会议是什么时候？"),
    ("妹は病院で働いています。", "妹はどこで働いていますか"),
    ("우리 강아지 이름은 보리예요.", "강아지 이름이 뭐야?"),
    ("أختي تعمل في المستشفى.", "أين تعمل أختي؟"),
    ("Мой брат живёт в Казани.", "Где живёт мой брат?"),
    ("Kardeşim hastanede çalışıyor.", "Kardeşim nerede çalışıyor?"),
    ("Minha filha estuda medicina.", "O que a minha filha estuda?"),
)
_FLAT = 1e-3


@dataclass(frozen=True)
class Relatedness:
    """Where the cosines of unrelated and of related pairs lie, and how widely.

    unrelated, related   their means
    spread               their common standard deviation
    """

    unrelated: float
    related: float
    spread: float

    @classmethod
    def measure(cls, embeddings: Embeddings) -> Relatedness:
        """Of these embeddings, on `PAIRS`."""
        told = _rows(embeddings.embed_documents([told for told, _ in PAIRS]))
        asked = _rows(embeddings.embed_documents([asked for _, asked in PAIRS]))
        cosines = told @ asked.T
        is_pair = np.eye(len(PAIRS), dtype=bool)
        related, unrelated = cosines[is_pair], cosines[~is_pair]
        spread = float(np.sqrt((related.var() + unrelated.var()) / 2))
        return cls(float(unrelated.mean()), float(related.mean()), max(spread, _FLAT))

    @classmethod
    def read(cls, text: str) -> Relatedness:
        """The inverse of `as_json`."""
        return cls(**json.loads(text))

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def alike(self) -> float:
        """A cosine that hardly a question has with its answer: texts of it mean the same."""
        return self.related + 2 * self.spread

    def evidence(self, cosine: float) -> float:
        """Log-odds that two texts are about the same, given their cosine: 0 is undecided."""
        middle = (self.related + self.unrelated) / 2
        return (self.related - self.unrelated) / self.spread**2 * (cosine - middle)


def _rows(vectors: Sequence[Sequence[float]]) -> np.ndarray:
    """The vectors, of length 1."""
    matrix = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(lengths, lengths, 1.0)
