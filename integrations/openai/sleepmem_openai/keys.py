"""API keys and whose memory each opens: a file with hashes of keys, never a key.

A personal key is one owner's. A service's key speaks for many: its owner comes first, the `user`
of each request second, so what its users are called meets no other key's owner. The keys are 256
random bits, so a plain SHA-256 of them cannot be guessed back.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from sleepmem import ConfigError, FolderError
from sleepmem.records import Namespace, check_namespace

_PREFIX = "sk-sleepmem-"
# Of those who use a gateway without keys and do not say who they are, as everywhere in sleepmem.
_DEFAULT: Namespace = ("default",)


@dataclass(frozen=True)
class Key:
    """What the file holds of a key.

    id        names it in `list` and `revoke`
    sha256    of the key
    owner     whose memory it opens
    many      whether it speaks for many: their `user` is added to the owner
    created   ISO 8601
    """

    id: str
    sha256: str
    owner: tuple[str, ...]
    many: bool
    created: str


_FILE = TypeAdapter(dict[str, list[Key]])


class Keys:
    """The keys of a gateway; the file is read again when it changes, so nothing needs a restart."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._stamp: tuple[int, int, int] | None = None
        self._by_hash: dict[str, Key] = {}

    def find(self, secret: str) -> Key | None:
        """The key with this secret; None when there is none, or it was revoked.

        Raises:
            FolderError: the file cannot be read.
        """
        try:
            status = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self._stamp:
            self._by_hash, self._stamp = {key.sha256: key for key in self.all()}, stamp
        return self._by_hash.get(_hash(secret))

    def all(self) -> list[Key]:
        """Every key, oldest first; none where there is no file.

        Raises:
            FolderError: it cannot be read, or is something else.
        """
        try:
            return _FILE.validate_json(self.path.read_bytes()).get("keys", [])
        except FileNotFoundError:
            return []
        except (OSError, ValidationError) as error:
            raise _unreadable(self.path, error) from error

    def add(self, owner: Namespace, *, many: bool = False) -> tuple[Key, str]:
        """A new key and its secret, which is shown now and never again."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        key = Key(secrets.token_hex(4), _hash(secret), check_namespace(owner), many, made)
        with self._locked():
            self._write([*self.all(), key])
        return key, secret

    def revoke(self, key_id: str) -> Key:
        """Take a key away; running gateways refuse it from the next request on.

        Raises:
            ConfigError: there is no key of that id.
        """
        with self._locked():
            keys = self.all()
            gone = next((key for key in keys if key.id == key_id), None)
            if gone is None:
                raise ConfigError(
                    f"{self.path} has no key {key_id!r}; `sleepmem-gateway keys list` shows them."
                )
            self._write([key for key in keys if key is not gone])
        return gone

    def _locked(self) -> FileLock:
        return FileLock(f"{self.path}.lock", timeout=10)

    def _write(self, keys: list[Key]) -> None:
        """Whole or not at all, for nobody else to read."""
        made: dict[str, Any] = {"keys": [asdict(key) for key in keys]}
        draft = self.path.with_name(f"{self.path.name}.new")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(_FILE.dump_json(_FILE.validate_python(made), indent=1))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.path)


def owner_of(key: Key | None, user: str | None) -> Namespace:
    """Whose memory a request means.

    Args:
        key: that it was sent with; None where keys are off.
        user: the request's own word. It counts only where keys are off or the key is a service's.

    Raises:
        ConfigError: a service does not say for whom it speaks.
        NamespaceError: `user` names nobody.
    """
    if key is None:
        return check_namespace((user,)) if user else _DEFAULT
    if not key.many:
        return key.owner
    if not user:
        raise ConfigError(
            "this key speaks for many, and the request does not say for whom, so no memory is "
            "meant. Set `user` to a name that is always the same for the same person."
        )
    return check_namespace((*key.owner, user))


def parsed_owner(text: str) -> Namespace:
    """An owner as a command line names it: parts between '/', a '/' of a part as %2F."""
    return check_namespace(tuple(map(unquote, text.split("/"))))


def shown_owner(owner: Namespace) -> str:
    """The inverse of `parsed_owner`."""
    return "/".join(quote(part, safe=" @.|:+") for part in owner)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _unreadable(path: Path, error: Exception) -> FolderError:
    why = error.strerror if isinstance(error, OSError) else "it is no file of keys"
    return FolderError(
        f"the keys in {path} cannot be read ({why}); make one with `sleepmem-gateway keys add`."
    )
