"""What a cosine of some embeddings means: how likely two texts are about the same.

Cosines of different embeddings lie in different places, so a threshold typed in for one is wrong
for the next. Here each is measured on the same questions and answers, of several languages, by the
two normal distributions of related and unrelated pairs (linear discriminant analysis, Fisher 1936).
What the embeddings give for one of these texts is kept, to be known by.
"""

from __future__ import annotations

import json
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
# By this text embeddings are known again; two runs of the same ones differ by rounding alone.
_KNOWN_BY, _ROUNDING = PAIRS[0][0], 0.1


@dataclass(frozen=True)
class Relatedness:
    """Where the cosines of unrelated and of related pairs lie, and how widely.

    unrelated, related   their means
    spread               their common standard deviation
    known_by             what the embeddings give for a certain text
    """

    unrelated: float
    related: float
    spread: float
    known_by: tuple[float, ...] = ()

    @classmethod
    def measure(cls, embeddings: Embeddings) -> Relatedness:
        """Of these embeddings, on `PAIRS`.

        Raises:
            ValueError: they gave something else than a vector for each text.
            Exception: whatever the embeddings themselves raise.
        """
        told = _rows(embeddings, [told for told, _ in PAIRS])
        asked = _rows(embeddings, [asked for _, asked in PAIRS])
        cosines = told @ asked.T
        is_pair = np.eye(len(PAIRS), dtype=bool)
        related, unrelated = cosines[is_pair], cosines[~is_pair]
        spread = float(np.sqrt((related.var() + unrelated.var()) / 2))
        known_by = tuple(float(f"{number:.6g}") for number in told[0])
        return cls(float(unrelated.mean()), float(related.mean()), max(spread, _FLAT), known_by)

    @classmethod
    def read(cls, text: str) -> Relatedness:
        """The inverse of `as_json`."""
        fields = json.loads(text)
        known_by = tuple(map(float, fields.pop("known_by")))
        return cls(**{name: float(value) for name, value in fields.items()}, known_by=known_by)

    def is_of(self, embeddings: Embeddings) -> bool:
        """Whether it was measured of these embeddings.

        Raises:
            ValueError, Exception: as `measure`.
        """
        (vector,) = _rows(embeddings, [_KNOWN_BY])
        is_as_long = len(vector) == len(self.known_by)
        return is_as_long and bool(np.linalg.norm(vector - self.known_by) < _ROUNDING)

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def alike(self) -> float:
        """A cosine that hardly a question has with its answer: texts of it mean the same."""
        return self.related + 2 * self.spread

    @property
    def undecided(self) -> float:
        """The cosine that tells nothing: also of what has no vector."""
        return (self.related + self.unrelated) / 2

    def evidence(self, cosine: float) -> float:
        """Log-odds that two texts are about the same, given their cosine: 0 is undecided."""
        return (self.related - self.unrelated) / self.spread**2 * (cosine - self.undecided)


# Of embeddings that could never be asked: cosines of theirs do not occur.
UNMEASURED = Relatedness(-1.0, 1.0, 1.0)


def _rows(embeddings: Embeddings, texts: list[str]) -> np.ndarray:
    """The vectors of these texts, of length 1."""
    matrix = np.asarray(embeddings.embed_documents(texts), dtype=np.float64)
    is_matrix = matrix.ndim == 2 and len(matrix) == len(texts)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True) if is_matrix else np.zeros(1)
    if not (np.isfinite(lengths).all() and lengths.any()):
        raise ValueError("the embeddings gave no vector of finite numbers for each text")
    return matrix / np.where(lengths, lengths, 1.0)
