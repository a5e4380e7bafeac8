"""Habits: what `sleepmem school` taught a base model once, merged into its weights when it loads.

Every view has them, since they are part of the base. Those in `shipped/` come with the package,
each for the files that its card names. Which they are is told without torch.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sleepmem.config import AUTO, ModelConfig
from sleepmem.errors import ExpertError, ModelError
from sleepmem.model import gguf
from sleepmem.model.profiles import Profile

NONE = "none"
_SHIPPED = Path(__file__).with_name("shipped")
CARD, REHEARSAL = "card.json", "rehearsal.jsonl"


class Rehearsed(NamedTuple):
    """A chat up to where the assistant speaks, over memories or none, and the answer to it."""

    chat: tuple[dict[str, str], ...]
    answer: str


@dataclass(frozen=True)
class Habits:
    """A folder that school wrote.

    bases     hub ids, and hashes of GGUF files, that they were taught to
    profile   how the model that has them is asked
    """

    folder: Path
    bases: tuple[str, ...]
    profile: Profile

    @classmethod
    def read(cls, folder: Path) -> Habits:
        """The habits in a folder.

        Raises:
            ModelError: there are none.
        """
        try:
            card: dict[str, Any] = json.loads((folder / CARD).read_text("utf-8"))
            return cls(folder, tuple(card["bases"]), Profile.read(folder))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ModelError(
                f"{folder} holds no habits (its {CARD} could not be read: {error}). "
                "Pass a folder that `sleepmem school` wrote, 'auto' or 'none'."
            ) from error

    @property
    def rehearsal(self) -> tuple[Rehearsed, ...]:
        """What nights go over, so that reading is not lost; empty where school wrote none.

        Raises:
            ModelError: the file cannot be read.
        """
        file = self.folder / REHEARSAL
        if not file.exists():
            return ()
        try:
            lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
            return tuple(Rehearsed(tuple(one["chat"]), str(one["answer"])) for one in lines)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ModelError(
                f"{file} cannot be read ({error}). Take the folder as `sleepmem school` wrote it."
            ) from error

    @property
    def sha256(self) -> str:
        """Of their weights.

        Raises:
            ModelError: there are none.
        """
        try:
            with (self.folder / "adapter_model.safetensors").open("rb") as weights:
                return hashlib.file_digest(weights, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(
                f"{self.folder} holds no habits ({error}). Pass a folder that `sleepmem school` "
                "wrote, 'auto' or 'none'."
            ) from error

    def put_on(self, model: Any) -> Any:
        """The model with them in its weights.

        Raises:
            ModelError: they were taught to a model of other shapes, or are damaged.
        """
        return adapter(model, start=self.folder).merge_and_unload()


def adapter(model: Any, *, rank: int = 16, start: Path | None = None) -> Any:
    """The model under an adapter: a new one of a rank, or that of habits.

    Raises:
        ModelError: the habits were taught to a model of other shapes, or are damaged.
    """
    from peft import LoraConfig, get_peft_model

    from sleepmem.model.adapters import Saved

    try:
        saved = Saved.read(start) if start else None
        settings = LoraConfig(
            r=saved.rank if saved else rank,
            lora_alpha=saved.alpha if saved else 2 * rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        peft = get_peft_model(model, settings)
        if saved:
            saved.fill(peft, "default")
    except (ExpertError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"the habits in {start} do not fit this model "
            f"({str(error).splitlines()[0]}). Use the model that was schooled, or set "
            "ModelConfig.habits to 'none'."
        ) from error
    return peft


def chosen(wanted: str, base: str) -> Habits | None:
    """Those of a folder, or those that ship for a base; None where there are none.

    Args:
        wanted: 'auto', 'none' or a folder.
        base: hub id, or hash of a GGUF file.

    Raises:
        ModelError: the folder holds none.
    """
    if wanted == NONE:
        return None
    if wanted != AUTO:
        return Habits.read(Path(wanted).expanduser())
    for card in sorted(_SHIPPED.glob(f"*/{CARD}")):
        shipped = Habits.read(card.parent)
        if base in shipped.bases:
            return shipped
    return None


def own(config: ModelConfig, *, sha256: str) -> Path | None:
    """The folder of a user's own habits, if it holds those of this hash.

    Raises:
        ModelError: the folder that the settings name holds none.
    """
    if config.habits in (AUTO, NONE):
        return None
    habits = Habits.read(Path(config.habits).expanduser())
    return habits.folder if habits.sha256 == sha256 else None


class Known(NamedTuple):
    """What is known of a model before it is loaded."""

    habits: Habits | None
    profile: Profile


def known(name: str, config: ModelConfig) -> Known:
    """The habits that a model will have, and how it is asked.

    Args:
        name: hub id, folder or GGUF file.
        config: what the settings say of both.

    Raises:
        ModelError: the habits, or the profile, cannot be read.
    """
    path = Path(name)
    habits = chosen(config.habits, gguf.digest(path) if path.is_file() else name)
    profile = habits.profile if habits else Profile.read(path)
    return Known(habits, profile.set_by(config))
