"""The commands of the day: observe, ask, chat."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Annotated, Any

import typer

from sleepmem.cli.app import (
    SERVE,
    ChatModel,
    Config,
    Folder,
    Json,
    Model,
    Owner,
    err,
    opened,
    out,
    print_json,
    sentences,
)
from sleepmem.cli.nights import one_night, print_night
from sleepmem.config import read_config
from sleepmem.errors import EpisodeError, MissingExtra
from sleepmem.memory import SleepMemory
from sleepmem.records import USER, Episode, check_end, parse_namespace

# Messages that `chat` keeps in the context; what was told before is in the memory.
_TURNS = 8


def observe(  # noqa: PLR0913 - the options of a command
    folder: Folder,
    text: Annotated[str, typer.Argument(help="What was said.", show_default=False)],
    *,
    namespace: Owner = "default",
    source: Annotated[
        str, typer.Option(help="Who said it; only 'user' may teach the weights by default.")
    ] = USER,
    lasts: Annotated[
        float | None,
        typer.Option(
            help="For how many days it holds, such as a price: it is never learned, and recalled "
            "no more afterwards.",
            min=0,
            max=36_500,
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Store an episode; creates the folder when it is new."""
    with sentences():
        # What cannot be stored is refused before a folder is made for it.
        owner = parse_namespace(namespace)
        told, days = Episode(owner, text, source), None
        if lasts is not None:
            days = timedelta(days=lasts)
            check_end(days, told.created_at)
        settings = read_config(config) if config else None
        # Who recalls it embeds it.
        with SleepMemory.open(
            folder, config=settings, check_experts=False, append_only=True
        ) as memory:
            episode = memory.observe(owner, text, source=source, lasts=days)
    if as_json:
        print_json({"id": episode.id, "namespace": list(owner), "created_at": episode.created_at})
    else:
        err.print(f"remembered {episode.id}")


def ask(  # noqa: PLR0913 - the options of a command
    folder: Folder,
    question: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    *,
    namespace: Owner = "default",
    model: Model = None,
    chat_model: ChatModel = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Answer from the weights or from the buffer; prints the answer alone.
    Beside another process it reads only."""
    needs = SERVE if chat_model is None else ()
    with opened(
        folder, needs, or_read=True, model=model, config=config, chat_model=chat_model
    ) as memory:
        answer = memory.ask(parse_namespace(namespace), question)
        if not as_json:
            out.say(answer.text)
            return
        recall = answer.recall
        print_json(
            {
                "answer": answer.text,
                "view": recall.view.value,
                "reason": recall.reason,
                "similarity": round(recall.similarity, 3),
                "episodes": [episode.text for episode in recall.episodes],
            }
        )


def chat(
    folder: Folder,
    namespace: Owner = "default",
    *,
    model: Model = None,
    chat_model: ChatModel = None,
    config: Config = None,
) -> None:
    """Talk to an agent with this memory. `/sleep` consolidates, `/quit` or end of input leaves."""
    with sentences():
        owner = parse_namespace(namespace)
    needs = SERVE if chat_model is None else ()
    with opened(
        folder, needs, must_exist=False, model=model, config=config, chat_model=chat_model
    ) as memory:
        from langchain.agents import create_agent

        from sleepmem.middleware import SleepMemoryMiddleware

        agent = create_agent(memory.chat_model(), middleware=[SleepMemoryMiddleware(memory, owner)])
        messages: list[Any] = []
        while (line := _read_line()) not in (None, "/quit"):
            try:
                if line == "/sleep":
                    print_night(one_night(memory, owner))
                elif line:
                    told = {"role": "user", "content": line}
                    messages = agent.invoke({"messages": [*messages[-_TURNS:], told]})["messages"]
                    out.say(messages[-1].text)
            except (EpisodeError, MissingExtra) as error:
                # The talk goes on.
                err.say(error)


def _read_line() -> str | None:
    """What was typed; None at the end of input."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
