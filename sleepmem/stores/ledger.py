"""The ledger: one SQLite file, the only truth, as its groups of tables.

It knows no model and no index; it says which episodes are still to be indexed.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sleepmem.errors import LedgerError
from sleepmem.records import Episode, Namespace
from sleepmem.stores.database import Database
from sleepmem.stores.episodes import Episodes
from sleepmem.stores.forgotten import ForgottenMessages
from sleepmem.stores.gates import Gates
from sleepmem.stores.lineage import Lineage
from sleepmem.stores.nights import Nights
from sleepmem.stores.notes import Notes
from sleepmem.stores.reading import ReadOnlyDatabase
from sleepmem.stores.receipts import Receipts
from sleepmem.stores.rows import intact
from sleepmem.stores.turns import Turns
from sleepmem.stores.vectors import Vectors, episode_of, pieces_of
from sleepmem.stores.words import Words
from sleepmem.text.similarity import fused


class Ledger:
    """Open, create or only read the ledger of a memory folder. Safe to share between threads.

        episodes   what was said                     turns     what was asked, and events
        words      full-text search over them        nights    probes, dreams, exams, reports
        vectors    search by meaning over them       gates     what the gate was fitted to
        lineage    experts, promotion, rollback        notes     what the teacher drew from episodes
        receipts   what was forgotten                  forgotten of which messages

    Raises:
        FolderError: the file cannot be read or written.
        LedgerError: it is not a ledger, or a newer sleepmem wrote it.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.database = ReadOnlyDatabase(path) if read_only else Database(path)
        self.episodes = Episodes(self.database)
        self.words = Words(self.database, self.episodes.count)
        self.vectors = Vectors(self.database)
        self.turns = Turns(self.database)
        self.nights = Nights(self.database)
        self.notes = Notes(self.database)
        self.lineage = Lineage(self.database)
        self.gates = Gates(self.database)
        self.receipts = Receipts(self.database)
        self.forgotten = ForgottenMessages(self.database)
        if self.database.set_aside:
            self.turns.log_event("log set aside", file=self.database.set_aside)

    @property
    def id(self) -> str:
        """Of this folder, made once, the same for ever."""
        return str(self._of_folder("id"))

    @property
    def model(self) -> str | None:
        """The model this folder was last used with, or None when none was loaded yet.

        A hub id, a folder, or "embedded".
        """
        return self._of_folder("model")

    @property
    def habits(self) -> str:
        """What the habits of that model are known by; empty where it has none."""
        return self._of_folder("habits") or ""

    def use_model(self, model: str, habits: str = "") -> None:
        with self.database.write() as db:
            db.execute("UPDATE folder SET model = ?, habits = ?", [model, habits])

    def search(
        self, namespace: Namespace, question: str, *, limit: int, source: str | None = None
    ) -> list[Episode]:
        """Full-text search over what holds, best first; of one source where it is named."""
        found = fused(self.words.search(namespace, question, limit=limit, source=source))[:limit]
        by_id = {episode.id: episode for episode in self.episodes.get(namespace, found)}
        return [by_id[episode_id] for episode_id in found if episode_id in by_id]

    def texts_of(self, piece_ids: Iterable[str]) -> dict[str, str]:
        """The texts of pieces and known questions, by id."""
        wanted = set(piece_ids)
        found = self.nights.questions(wanted)
        for episode in self.episodes.stored(set(map(episode_of, wanted))):
            found.update(pieces_of(episode))
        return {one: text for one, text in found.items() if one in wanted}

    @property
    def is_unclean(self) -> bool:
        """Whether files may have bytes of what was forgotten."""
        return bool(self._of_folder("unclean"))

    def set_clean(self) -> None:
        """Nothing of what was forgotten is left in a file."""
        with self.database.write() as db:
            db.execute("UPDATE folder SET unclean = 0")

    @property
    def embeddings(self) -> str | None:
        """What the embeddings of the index are known by, JSON; None before the first."""
        return self._of_folder("embeddings")

    def _of_folder(self, column: str) -> str | None:
        rows = self.database.rows(f"SELECT {column} FROM folder")
        with intact(f"what is known of the folder, its {column},"):
            (row,) = rows
            return row[column] or None

    def use_embeddings(self, known_by: str) -> None:
        """Unless some are used already."""
        with self.database.write() as db:
            sql = "UPDATE folder SET embeddings = ? WHERE coalesce(embeddings, '') = ''"
            db.execute(sql, [known_by])

    def begin_index_anew(self, known_by: str) -> None:
        """Forget all vectors, for other embeddings, and index all words anew; or nothing of it."""
        with self.database.write():
            self.vectors.clear(known_by)
            self.episodes.index_words_anew()

    def verify(self) -> list[str]:
        """What is wrong, one sentence each; empty when it is sound. Re-derives every id.

        What it covers: `docs/promises.md`.
        """
        report = self.database.rows("PRAGMA integrity_check")
        faults = [f"SQLite reports: {row[0]}" for row in report if row[0] != "ok"]
        looks = [self.episodes.faults, self.words.faults, self.vectors.faults]
        looks += [self.nights.faults, self.lineage.faults, self.gates.faults, self.turns.faults]
        looks += [self.notes.faults, self.receipts.faults]
        for look in looks:
            try:
                faults += look()
            except LedgerError as error:  # a row that cannot be read
                faults.append(str(error))
        return faults

    def close(self) -> None:
        self.database.close()
