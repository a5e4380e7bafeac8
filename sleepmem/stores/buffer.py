"""The buffer: what is searched by meaning. Episodes that are not in the weights, those that are,
and the questions that the weights can answer.

Vectors lie in the ledger (`vectors`), embedded once. A Chroma index finds the nearest of many; what
it has not yet, or a memory too small for one, is searched exactly. So the index may be slow, broken
or another process's: recall finds the same without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sleepmem.errors import FolderError
from sleepmem.records import Episode, Kind, Namespace, Neighbour, Probe, namespace_key
from sleepmem.stores.index import Index, IndexElsewhere, IndexFault
from sleepmem.stores.ledger import Ledger
from sleepmem.stores.vectors import Near, Place, Waiting, episode_of, pieces_of
from sleepmem.text.similarity import Vector

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

log = logging.getLogger("sleepmem")
# Pieces that wait before they go to the index together: so few are searched exactly as quickly.
WAITING = 256
# Pieces that go to it at a time, and at most at one recall.
_BATCH, _AT_ONCE = 250, 1_000
# Of a long text's pieces, as many may be nearest before another text comes.
_PIECES_READ = 2
# Texts that fail one after the other: then the embeddings are out of order, not the texts.
_OUTAGE = 3
# Seconds until what failed is tried again: at first at once, then after twice as long each time.
_LONGEST_PAUSE = 600.0
# Kinds of events.
NOT_EMBEDDED, INDEX_FAILED = "not embedded", "index failed"


class Buffer:
    """Search by meaning over a ledger.

    Args:
        ledger: the truth, vectors included.
        embeddings: any LangChain embeddings.
        index: of the vectors; without one all is searched exactly.
    """

    def __init__(self, ledger: Ledger, embeddings: Embeddings, index: Index | None = None) -> None:
        self.embeddings = embeddings
        self._ledger, self._vectors, self._index = ledger, ledger.vectors, index
        self._width = 0  # numbers in a vector; 0 while nothing tells
        self._embedding, self._indexing = _Pauses(), _Pauses()
        self._lock = threading.RLock()

    # What was stored since

    def catch_up(self, namespace: Namespace) -> None:
        """Embed what was stored and learned since, by this process or others.

        What the embeddings refuse is set aside and tried again later; an event tells of it.
        """
        new = self._ledger.episodes.unembedded(namespace)
        if new:
            with self._lock:
                self._embed_episodes(namespace, new)
        change = self._vectors.learned_anew(namespace)
        if change:
            with self._lock:
                self._embed_known(namespace, change)
        if new or change:
            self._flush_if_many(namespace)

    def _embed_episodes(self, namespace: Namespace, episodes: Sequence[Episode]) -> None:
        texts: dict[str, str] = {}
        for episode in episodes:
            if self._embedding.is_over(episode.id):
                texts.update(pieces_of(episode))
        embedded: dict[str, dict[str, np.ndarray]] = {}
        for piece_id, vector in self._embed(namespace, texts).items():
            embedded.setdefault(episode_of(piece_id), {})[piece_id] = vector
        if embedded:
            self._vectors.add(namespace, embedded)
        for episode_id in embedded:
            self._embedding.done(episode_id)

    def _embed_known(self, namespace: Namespace, change: int) -> None:
        known = {probe.id: probe.question for probe in known_questions(self._ledger, namespace)}
        lying = self._vectors.ids(namespace, Place.KNOWN)
        fresh = {one: text for one, text in known.items() if one not in lying}
        fresh = {one: text for one, text in fresh.items() if self._embedding.is_over(one)}
        vectors = self._embed(namespace, fresh)
        if len(vectors) < len(known.keys() - lying):
            change = 0  # the rest is tried again
        self._vectors.set_known(namespace, vectors, gone=lying - known.keys(), change=change)

    def _embed(self, namespace: Namespace, texts: Mapping[str, str]) -> dict[str, np.ndarray]:
        """Sound vectors by id; where not all texts get one, each is tried alone."""
        with contextlib.suppress(Exception):  # whatever the caller's embeddings raise
            return dict(zip(texts, self.embedded(list(texts.values())), strict=True))
        found: dict[str, np.ndarray] = {}
        refused: set[str] = set()
        reason, in_a_row = "", 0
        for one, text in texts.items():
            try:
                if in_a_row < _OUTAGE:
                    (found[one],) = self.embedded([text])
                    in_a_row = 0
                    continue
            except Exception as error:  # as above
                reason, in_a_row = str(error), in_a_row + 1
            refused.add(episode_of(one))
        for name in sorted(refused):
            if self._embedding.failed(name):
                self.tell(namespace, NOT_EMBEDDED, reason=reason, episode=name)
        return {one: vector for one, vector in found.items() if episode_of(one) not in refused}

    def tell(self, namespace: Namespace, kind: str, *, reason: str, **what: str) -> None:
        """Log it, and keep it as an event."""
        log.warning("memory: %s: %s", kind, reason)
        # What cannot be written now is written with what comes next.
        with contextlib.suppress(FolderError):
            self._ledger.turns.log_event(kind, namespace=list(namespace), reason=reason, **what)

    def embedded(self, texts: list[str]) -> list[np.ndarray]:
        """Vectors of these texts.

        Raises:
            FolderError: the embeddings gave more or fewer, or unsound ones.
            Exception: whatever they raise themselves.
        """
        if not texts:
            return []
        given = list(self.embeddings.embed_documents(texts) or ())
        if len(given) != len(texts):
            raise FolderError(
                f"the embeddings gave {len(given)} vectors for {len(texts)} texts. Nothing is "
                "lost, the ledger has them; they are indexed once the embeddings work again."
            )
        return [self._checked(vector) for vector in given]

    def _checked(self, vector: Any) -> np.ndarray:
        """The vector; FolderError unless it may stand beside the other vectors."""
        try:
            with np.errstate(over="ignore"):
                given = np.asarray(vector, dtype=np.float32)
        except (ValueError, TypeError, OverflowError):
            given = np.asarray(np.nan)
        if given.ndim != 1 or not np.isfinite(given).all():
            found = "a vector that holds what is no finite number"
        elif self._width and len(given) != self._width:
            found = f"a vector of {len(given)} numbers where the index has {self._width}"
        else:
            self._width = self._width or len(given)
            return given
        raise FolderError(
            f"the embeddings gave {found}. Nothing is lost, the ledger has it, and it is indexed "
            "once the embeddings work again."
        )

    def embed_question(self, question: str) -> np.ndarray:
        """Its vector.

        Raises:
            FolderError: the embeddings gave an unsound one.
            Exception: whatever they raise themselves.
        """
        return self._checked(self.embeddings.embed_query(question))

    # What lies near

    def near(
        self,
        namespace: Namespace,
        embedding: Vector,
        *,
        count: int,
        place: Place = Place.EPISODES,
    ) -> list[Neighbour]:
        """Episodes that belong there, nearest first, each by its nearest piece."""
        best: dict[str, float] = {}
        for near in self._pieces(place, namespace, embedding, count * _PIECES_READ):
            episode_id = episode_of(near.id)
            best[episode_id] = max(best.get(episode_id, -1.0), near.similarity)
        found = [Neighbour(episode_id, "", value, "") for episode_id, value in best.items()]
        return sorted(found, key=lambda near: -near.similarity)[:count]

    def near_known(self, namespace: Namespace, embedding: Vector, *, count: int) -> list[Neighbour]:
        """Known questions, nearest first, with the texts of what taught their answers."""
        near = self._pieces(Place.KNOWN, namespace, embedding, count)
        questions = self._ledger.nights.taught(namespace, (one.id for one in near))
        found = []
        for one in near:
            if one.id in questions:
                question, taught_by = questions[one.id]
                found.append(Neighbour(one.id, question, one.similarity, taught_by))
        return found

    def _pieces(
        self, place: Place, namespace: Namespace, embedding: Vector, count: int
    ) -> list[Near]:
        """The nearest pieces that belong there, of the index and of what waits for it."""
        self._vectors.check_made_with()
        vector = self._checked(embedding)
        indexed = self._indexed(place, namespace, vector, count)
        waiting = self._vectors.nearest(
            namespace, place, vector=vector, count=count, waiting=indexed is not None
        )
        near = [*(indexed or ()), *waiting]
        return sorted(near, key=lambda one: -one.similarity)[:count]

    def _indexed(
        self, place: Place, namespace: Namespace, vector: np.ndarray, count: int
    ) -> list[Near] | None:
        """Of the index; None when it cannot be asked: then all is searched exactly."""
        if not self._vectors.number_lying(namespace, place):
            return []
        index = self._index
        if index is None or not self._indexing.is_over(""):
            return None
        # What belongs elsewhere now, and lies there still, must crowd out nothing.
        wanted = count + self._vectors.number_astray(namespace, place)
        try:
            found = index.query(self._name(place, namespace), vector, count=wanted)
            if len(found) < wanted:
                # Files that are gone give no error, but less.
                there = self._vectors.number_lying(namespace, place, most=wanted)
                if len(found) < there:
                    raise IndexFault(f"it gave {len(found)} of at least {there} pieces")
        except IndexElsewhere:
            return None
        except IndexFault as error:
            self._broke(namespace, error)
            return None
        here = self._vectors.belonging([one for one, _ in found], place)
        return [Near(one, similarity) for one, similarity in found if one in here]

    def vectors(self, namespace: Namespace, episodes: Iterable[Episode]) -> dict[str, np.ndarray]:
        """Vectors of the pieces of these episodes, by text: those that are kept, else embedded.

        What the embeddings refuse is left out.
        """
        wanted: dict[str, str] = {}
        for episode in episodes:
            wanted.update(pieces_of(episode))
        found = self._vectors.of(wanted)
        left = {}
        for one, text in wanted.items():
            if one not in found and self._embedding.is_over(episode_of(one)):
                left[one] = text
        found.update(self._embed(namespace, left))
        return {wanted[one]: vector for one, vector in found.items()}

    # What is where

    def ids(self, namespace: Namespace) -> set[str]:
        """Of the buffered episodes that can be found."""
        own = self._vectors.ids(namespace, Place.EPISODES)
        return set(map(episode_of, own | self._vectors.ids(namespace, Place.ASKED)))

    def archived_ids(self, namespace: Namespace) -> set[str]:
        """Of the episodes that the weights hold and that can be found."""
        return set(map(episode_of, self._vectors.ids(namespace, Place.ARCHIVE)))

    def known_ids(self, namespace: Namespace) -> set[str]:
        """Of the known questions."""
        return self._vectors.ids(namespace, Place.KNOWN)

    # The index

    def flush(self, namespace: Namespace, *, most: int = _AT_ONCE) -> int:
        """Bring to the index what waits for it, at most so many pieces; returns how many."""
        done = 0
        while self._index is not None and done < most and self._indexing.is_over(""):
            with self._lock:
                try:
                    with self._index.writing():
                        waiting = self._vectors.waiting(namespace, limit=_BATCH)
                        if not waiting:
                            break
                        self._lay(namespace, waiting)
                except IndexElsewhere:
                    break
                except IndexFault as error:
                    self._failed(namespace, error)
                    break
                self._indexing.done("")
                done += len(waiting)
        return done

    def _flush_if_many(self, namespace: Namespace) -> None:
        if self._index is not None and self._vectors.number_waiting(namespace) >= WAITING:
            self.flush(namespace)

    def _lay(self, namespace: Namespace, waiting: Sequence[Waiting]) -> None:
        """Put pieces where they belong in the index, and take them from where they were."""
        assert self._index
        for place in Place:
            gone = [one.id for one in waiting if one.lies_in == place]
            if gone:
                self._index.delete(self._name(place, namespace), gone)
                self._vectors.laid(gone, None)
        for place in Place:
            new = [one for one in waiting if one.place == place]
            if not new:
                continue
            name = self._name(place, namespace)
            if not self._vectors.number_lying(namespace, place):
                self._index.drop(name)  # what an earlier index left there
            ids = [one.id for one in new]
            texts = self._ledger.texts_of(ids)
            self._index.upsert(
                name,
                ids=ids,
                vectors=np.stack([one.vector for one in new]),
                texts=[texts.get(one, "") for one in ids],
            )
            self._vectors.laid(ids, place)

    def _failed(self, namespace: Namespace, error: IndexFault) -> None:
        """It could not be written: what waits goes on to be searched exactly."""
        if self._indexing.failed(""):
            self.tell(namespace, INDEX_FAILED, reason=str(error))

    def _broke(self, namespace: Namespace, error: IndexFault) -> None:
        """It could not be read: its files are set aside, and made anew from the ledger."""
        self._failed(namespace, error)
        if self._index is None or self._index.is_shared:
            return
        with self._lock:
            self._index.set_aside()
            # What cannot be written now, the next query finds out again.
            with contextlib.suppress(FolderError):
                self._vectors.lost()

    def _name(self, place: Place, namespace: Namespace) -> str:
        """Of the collection; two folders may share a server."""
        key = (self._ledger.id + namespace_key(namespace)).encode()
        return f"{place}-{hashlib.sha256(key).hexdigest()[:32]}"

    # Care

    def expect(self, width: int) -> None:
        """What the embeddings give has so many numbers."""
        self._width = width

    def clear(self, known_by: str) -> None:
        """Forget every vector; what the index has of them is made anew when it is written.

        Args:
            known_by: what the embeddings of those to come are known by.
        """
        with self._lock:
            self._ledger.begin_index_anew(known_by)
            if self._index is not None:
                # Held by another process, it finds nothing that is said to lie there.
                with contextlib.suppress(IndexElsewhere):
                    self._index.set_aside()

    def erase(self, namespaces: Iterable[Namespace]) -> None:
        """Delete the index with its files; it is laid anew from the vectors, as it is used.

        Raises:
            FolderError: another process has it, its server does not answer, or none was given.
        """
        if self._index is None:
            raise FolderError(
                "the index of this memory is on a Chroma server, which keeps texts; open the "
                "memory with it (chroma_client=...) to forget."
            )
        names = [self._name(place, owner) for owner in namespaces for place in Place]
        with self._lock:
            try:
                with self._index.writing():
                    self._index.erase(names)
            except IndexFault as error:
                raise FolderError(
                    f"the index has what is to be forgotten, and cannot be deleted: {error}. "
                    "Close what holds it, or start its server, and forget again."
                ) from error
            self._vectors.lost()

    def reconcile(self, namespaces: Iterable[Namespace]) -> None:
        """Bring what is kept to what the episodes say, and the index to what is kept."""
        self._vectors.put_in_place()
        for namespace in namespaces:
            self.catch_up(namespace)
            if self._index is None:
                continue
            try:
                with self._index.writing():
                    for place, (extra, missing) in self._strange(namespace).items():
                        if extra:
                            self._index.delete(self._name(place, namespace), sorted(extra))
                        self._vectors.laid(missing, None)
            except IndexElsewhere:
                return
            except IndexFault as error:
                self._broke(namespace, error)
                return
            self._flush_if_many(namespace)

    def sees_index(self) -> bool:
        """Whether `faults` can look at the index: no other process has it, and it is in use here.

        One that has nothing is seen.
        """
        lying = self._vectors.any_lying()
        if lying is None:
            return True
        namespace, place = lying
        try:
            return self._index is not None and bool(self._index.ids(self._name(place, namespace)))
        except IndexFault:
            return False

    def faults(self, namespaces: Iterable[Namespace]) -> list[str]:
        """What does not agree, one sentence each."""
        faults = []
        for episode_id in self._vectors.misplaced():
            faults.append(
                f"episode {episode_id} is not searched where it belongs; "
                "`memory.reconcile()` mends it"
            )
        for namespace in namespaces:
            known = {probe.id for probe in known_questions(self._ledger, namespace)}
            is_due = self._vectors.learned_anew(namespace)
            wrong = not is_due and known != self.known_ids(namespace)
            try:
                wrong = wrong or any(any(pair) for pair in self._strange(namespace).values())
            except IndexElsewhere:
                pass
            except IndexFault as error:
                faults.append(f"the index could not be asked ({error}); it is made anew when used")
                return faults
            if wrong:
                faults.append(
                    f"the index of {namespace} is not what the ledger says; "
                    "`memory.reconcile()` mends it"
                )
        return faults

    def _strange(self, namespace: Namespace) -> dict[Place, tuple[set[str], set[str]]]:
        """Per place, what the index has and should not, and what it lacks."""
        strange = {}
        for place in Place:
            said = self._vectors.lying(namespace, place)
            if said and self._index is not None:
                there = set(self._index.ids(self._name(place, namespace)))
                strange[place] = (there - said, said - there)
        return strange

    def close(self) -> None:
        if self._index is not None:
            self._index.close()


class _Pauses:
    """When what failed may be tried again: at once, then after twice as long each time."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def is_over(self, name: str) -> bool:
        return time.monotonic() >= self._until.get(name, 0.0)

    def failed(self, name: str) -> bool:
        """Returns whether it is the first time."""
        times = self._failures.get(name, 0)
        self._failures[name] = times + 1
        pause = min(2.0 ** (times - 1), _LONGEST_PAUSE) if times else 0.0
        self._until[name] = time.monotonic() + pause
        return times == 0

    def done(self, name: str) -> None:
        self._failures.pop(name, None)
        self._until.pop(name, None)


def known_questions(ledger: Ledger, namespace: Namespace) -> list[Probe]:
    """What was answered right closed-book about facts and dreams."""
    passed = ledger.nights.learned_probes(namespace, passed=True)
    return [probe for probe in passed if probe.kind in (Kind.FACT, Kind.DREAM)]
