"""`read`: an export of any known form, recognised by what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from sleepmem.arguments import check_path
from sleepmem.errors import ConfigError, EpisodeError
from sleepmem.foreign import chatgpt, claude, langmem, markdown, mem0
from sleepmem.foreign.entries import Entry, entries, looks_like_json
from sleepmem.foreign.files import Document, documents
from sleepmem.foreign.record import Record
from sleepmem.foreign.values import Conversation, Form, Told

Values = Iterator[Told] | Iterator[Conversation]
_MARKDOWN_ENDS = (".md", ".markdown")
_JSON_LINES_ENDS = (".jsonl", ".ndjson")
_JSON_ENDS = (".json", *_JSON_LINES_ENDS)
# How the file of a chat's export begins that holds the conversations.
_CONVERSATIONS = "conversations"
_FORMS = ", ".join(Form)


@dataclass(frozen=True, slots=True)
class _Content:
    """Of a document: its form, unless it has none; its text, and the entries of JSON in it.

    is_empty  whether it is an export in which nothing is
    """

    form: Form | None = None
    text: str = ""
    entries: Sequence[Entry] = ()
    is_empty: bool = False


class _Reader(NamedTuple):
    """Whether an entry is of this form, and what it holds."""

    owns: Callable[[Mapping[str, Any]], bool]
    values: Callable[[Record], Values]


_READERS = {
    Form.CHATGPT: _Reader(chatgpt.owns, chatgpt.conversations),
    Form.CLAUDE: _Reader(claude.owns, claude.values),
    Form.MEM0: _Reader(mem0.owns, mem0.told),
    Form.LANGMEM: _Reader(langmem.owns, langmem.told),
}


def read(
    path: Path, *, form: Form | None = None, passed: list[str] | None = None
) -> Iterator[Told | Conversation]:
    """The memories or conversations of a file, a folder or a .zip, in its order.

    Without `form` it is recognised. In a folder or an archive the files of other content are passed
    over, such as user.json of a chat's export; two known forms in one must be told apart by `form`.
    What is wrong raises where it is met, so read all before anything is stored. `passed` gets the
    names of what was passed over.

    Raises:
        ConfigError: the path or the form is none.
        FolderError: it is not there, cannot be read, or a file is larger than 1 GiB.
        EpisodeError: it is of no known form, is broken, or an entry is not what it must be.
    """
    check_path(path, what="path", expected="the path of an export")
    return _read(Path(path), as_form(form), passed=[] if passed is None else passed)


def as_form(given: object) -> Form | None:
    """The form that a caller names; None when it is to be recognised.

    Raises:
        ConfigError: it is none.
    """
    if given is None:
        return None
    if given not in list(Form):
        raise ConfigError(f"form is {given!r:.60}, which names no form; pass one of {_FORMS}.")
    return Form(str(given))


def _read(path: Path, wanted: Form | None, *, passed: list[str]) -> Iterator[Told | Conversation]:
    first: tuple[Form, str] | None = None
    is_empty = False
    for document in documents(path):
        content = _content(document, wanted)
        is_empty = is_empty or content.is_empty
        if content.form is None or (wanted and content.form is not wanted):
            passed += [] if content.is_empty else [document.name]
            continue
        if first and first[0] is not content.form:
            raise EpisodeError(
                f"{path} holds {first[0]} ({first[1]}) and {content.form} ({document.name}), and "
                "only one is read at once; pass form=... for each."
            )
        first = content.form, document.name
        if content.form is Form.MARKDOWN:
            yield from markdown.told(document, content.text)
        for entry in content.entries:
            yield from _READERS[content.form].values(Record(entry.content, entry.where))
    if first is None and not is_empty:
        raise EpisodeError(
            f"{path} holds nothing of {wanted or 'any of the forms ' + _FORMS}; choose an export, "
            "or say what it is with form=..."
        )


def _content(document: Document, wanted: Form | None) -> _Content:
    """What the document holds, if it may be of the form that is wanted."""
    is_markdown = document.end in _MARKDOWN_ENDS
    if wanted and not document.alone and is_markdown is not (wanted is Form.MARKDOWN):
        return _Content()
    text = document.text()
    if wanted is Form.MARKDOWN or (is_markdown and wanted is None):
        return _Content(Form.MARKDOWN, text)
    if document.end in _JSON_LINES_ENDS and not text.strip():
        return _Content(is_empty=True)
    is_json = document.end in _JSON_ENDS or looks_like_json(text)
    if wanted is None and not is_json:
        return _Content()
    found = entries(text, document.shown)
    # Of a chat's export other files may be empty, too.
    is_whole = document.alone or PurePosixPath(document.name).name.startswith(_CONVERSATIONS)
    form = wanted if document.alone else None
    return _Content(form or _recognised(found), text, found, is_whole and not found)


def _recognised(found: list[Entry]) -> Form | None:
    """By the first entry that is of any form; whether all are is seen when they are read."""
    for entry in found:
        for form, reader in _READERS.items():
            if isinstance(entry.content, dict) and reader.owns(entry.content):
                return form
    return None
