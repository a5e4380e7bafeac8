"""Answers that fit a schema: a call that the model must write, read and checked."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    JsonOutputToolsParser,
    PydanticToolsParser,
)
from langchain_core.runnables import (
    Runnable,
    RunnableLambda,
    RunnableMap,
    RunnablePassthrough,
)
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from sleepmem.errors import ModelError


def structured(
    model: BaseChatModel, schema: Any, *, include_raw: bool, options: dict[str, Any]
) -> Runnable[Any, Any]:
    """The model that answers with what fits the schema; see `BaseChatModel`.

    Raises:
        ValueError: an option that is not LangChain's.
    """
    unknown = sorted(set(options) - {"method", "strict", "tools"})
    if unknown:
        names = ", ".join(unknown)
        raise ValueError(f"with_structured_output got {names}, which it does not know. Leave it.")
    name = convert_to_openai_tool(schema)["function"]["name"]
    answering = model.bind_tools(
        [schema],
        tool_choice=name,
        ls_structured_output_format={"kwargs": {"method": "function_calling"}, "schema": schema},
    )
    parser: JsonOutputToolsParser = JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
    if isinstance(schema, type) and is_basemodel_subclass(schema):
        parser = PydanticToolsParser(tools=[schema], first_tool_only=True)

    def read(message: AIMessage) -> Any:
        return _read(message, parser, name=name)

    if not include_raw:
        return answering | RunnableLambda(read)
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | RunnableLambda(read), parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=answering) | parsed.with_fallbacks(
        [failed], exception_key="parsing_error"
    )


def _read(message: AIMessage, parser: JsonOutputToolsParser, *, name: str) -> Any:
    try:
        found, why = parser.invoke(message), ""
    except (OutputParserException, ValueError) as error:
        found, why = None, str(error)
    if found is not None:
        return found
    for call in message.invalid_tool_calls:
        why = call["error"] or f"it wrote {call['args']!r}"
    raise ModelError(
        f"the model wrote no {name} that fits its schema ({why}). Give it more `max_tokens`, a "
        "simpler schema, or take a larger model."
    )
