"""Every error that sleepmem raises on purpose. Each is also the standard error it refines.

    SleepmemError
    ├── ConfigError          (ValueError)    a setting outside its range
    ├── NamespaceError       (ValueError)    a namespace that is empty, too long or no text
    ├── EpisodeError         (ValueError)    an episode that is empty or malformed
    ├── GraphError           (ValueError)    a graph whose state does not keep its messages
    ├── FolderError          (OSError)       a memory folder that cannot be read or written
    │   └── FolderLocked                     a night of its owner runs already
    ├── LedgerError          (ValueError)    a ledger made by something else, or by a newer sleepmem
    ├── ModelError           (ValueError)    a model that cannot be loaded or cannot chat
    ├── ExpertError          (LookupError)   an expert whose files are missing or damaged
    └── MissingExtra         (ImportError)   a package of an extra that is not installed

A sentence says what was given, why it cannot work, and what to do.
"""

from __future__ import annotations


class SleepmemError(Exception):
    """Root of the tree: catch it to catch all of them."""


class ConfigError(SleepmemError, ValueError): ...


class NamespaceError(SleepmemError, ValueError): ...


class EpisodeError(SleepmemError, ValueError): ...


class GraphError(SleepmemError, ValueError): ...


class FolderError(SleepmemError, OSError): ...


class FolderLocked(FolderError): ...


class LedgerError(SleepmemError, ValueError): ...


class ModelError(SleepmemError, ValueError): ...


class ExpertError(SleepmemError, LookupError): ...


class MissingExtra(SleepmemError, ImportError): ...
