"""Bearer tokens of owners, in a file that holds their hashes alone.

A line an owner and token: the owner as the command takes it, a tab, SHA-256 of the token.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
from pathlib import Path

from mcp.server.auth.provider import AccessToken, TokenVerifier

from sleepmem import ConfigError, NamespaceError
from sleepmem.records import as_path, parse_namespace

_PREFIX = "sleepmem-"
_DIGEST = re.compile("[0-9a-fA-F]{64}")
# In an owner's name: what would end its line, or make it a comment.
_ESCAPED = re.compile("[\x00-\x1f\x7f#]")
_log = logging.getLogger("sleepmem.mcp")


class Tokens(TokenVerifier):
    """Who a token is of, read anew whenever the file has changed.

    Raises:
        ConfigError: the file is not there, or a line is none of an owner and a hash.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at: tuple[int, int] | None = None
        self._owners: dict[str, str] = {}
        self._refresh()

    async def verify_token(self, token: str) -> AccessToken | None:
        """The owner as the client, or None; nobody's while the file cannot be read."""
        try:
            self._refresh()
        except ConfigError as error:
            self._owners, self._read_at = {}, None
            _log.warning("%s", error)
        # Looked up by its hash: how long that takes tells nothing of a token.
        owner = self._owners.get(_hash(token))
        if owner is None:
            return None
        return AccessToken(token=token, client_id=owner, scopes=[], subject=owner)

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size)
            if seen != self._read_at:
                self._owners = _owners(self._path)
                self._read_at = seen
        except OSError as error:
            raise ConfigError(
                f"the tokens in {self._path} cannot be read ({error.strerror}); make one with "
                "--new-token OWNER."
            ) from error


def new_token(path: Path, owner: str) -> str:
    """Make a token for this owner and keep its hash; it is shown this once.

    Raises:
        NamespaceError: the owner is none.
        OSError: the file cannot be written.
    """
    token = _PREFIX + secrets.token_urlsafe(32)
    line = f"{_written(owner)}\t{_hash(token)}\n"
    # For nobody else to read, from its first byte on.
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(file, "ab+") as lines:
        size = lines.seek(0, os.SEEK_END)
        lines.seek(max(0, size - 1))
        # An editor may have left the last line without its end; two in one would be of nobody.
        begins = b"" if lines.read() in (b"", b"\n") else b"\n"
        lines.write(begins + line.encode())
    return token


def _owners(path: Path) -> dict[str, str]:
    owners = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        try:
            owner, _, digest = line.decode().rstrip().rpartition("\t")
            # A tab within an owner is written as %09: one here is of two lines in one.
            if "\t" in owner or not _DIGEST.fullmatch(digest):
                raise NamespaceError
            owners[digest.lower()] = as_path(parse_namespace(owner))
        except (UnicodeDecodeError, NamespaceError) as error:
            raise ConfigError(
                f"line {number} of {path} is no owner with the hash of a token; make it with "
                "--new-token OWNER."
            ) from error
    return owners


def _written(owner: str) -> str:
    """The owner as a line has it, in whatever characters; `parse_namespace` reads it."""
    return _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", as_path(parse_namespace(owner)))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
