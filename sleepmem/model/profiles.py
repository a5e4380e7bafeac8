"""What differs from model to model in how it is asked. Measured by `sleepmem fit`, not by name.

A model folder, or the habits of a model, bring theirs along in `profile.json`. The defaults suit
instruct models of 1 to 8 B parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from annotated_types import Ge, Le
from pydantic import ConfigDict, TypeAdapter, ValidationError

from sleepmem.config import AUTO, ModelConfig
from sleepmem.errors import ModelError

FILE = "profile.json"


@dataclass(frozen=True)
class Profile:
    """How a model is asked.

    memories   the turn that carries memories: the "system" message, or the "user"'s question
    notes      what is taught of an episode: notes "drawn" by the model; its "sentences", for a
               model that draws none; or the "whole", for one that reads one fact at a time
    heat       the temperature at which it writes questions
    lr         the learning rate of seeding
    blocks     share of the blocks that carry experts: the last ones, so that seeding goes no deeper
    sure       least probability of the least likely token where it says that nothing answers a
               question: a weak reader says so of what it was told, too, but seldom with .8
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    memories: Literal["system", "user"] = "system"
    notes: Literal["drawn", "sentences", "whole"] = "drawn"
    heat: Annotated[float, Ge(0.01), Le(2)] = 0.7
    lr: Annotated[float, Ge(1e-12), Le(10)] = 2e-4
    blocks: Annotated[float, Ge(0.01), Le(1)] = 1.0
    sure: Annotated[float, Ge(0), Le(1)] = 0.0

    @classmethod
    def read(cls, folder: Path) -> Profile:
        """The one in a folder; the default where there is none.

        Raises:
            ModelError: its file is none.
        """
        file = folder / FILE
        if not file.is_file():
            return cls()
        try:
            return _ADAPTER.validate_json(file.read_bytes())
        except ValidationError as error:
            first: Any = error.errors()[0]
            raise ModelError(
                f"{file} is no profile of a model ({'.'.join(map(str, first['loc']))}: "
                f"{first['msg']}). Remove it, or write it as docs/models.md says."
            ) from error

    def set_by(self, config: ModelConfig) -> Profile:
        """With what the settings do not leave to the model."""
        chosen: dict[str, Any] = {}
        for name in ("memories", "notes"):
            value = getattr(config, name)
            if value != AUTO:
                chosen[name] = value
        return replace(self, **chosen)


_ADAPTER = cast("TypeAdapter[Profile]", TypeAdapter(Profile))
