"""The shape of the ledger: named migrations, never changed once released."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Iterable
from typing import Any

from sqlite_utils import Database, Migrations

from sleepmem.records import now
from sleepmem.text.heads import SURELY_ASKS
from sleepmem.text.terms import normalised, terms

migrations = Migrations("sleepmem")
MOST_DIGEST = 2**60 - 1
# The message that an event is about; NULL where its detail is damaged.
MESSAGE_OF = "CASE WHEN json_valid(detail) THEN json_extract(detail, '$.message_id') END"
# What is an episode's from when it is stored, beside what its id is the hash of.
_STORED = (
    "id",
    "created_at",
    "day",
    "message_id",
    "speaker",
    "thread",
    "answers",
    "by_clock",
    "same",
    "asks",
)


@migrations()
def create_day(db: Database) -> None:
    db.table("episodes").create(
        {
            "id": str,
            "namespace": str,
            "text": str,
            "source": str,
            "created_at": str,
            "message_id": str,
            # 1 when the buffer holds it or held it
            "indexed": int,
            # the night whose expert holds it; NULL while it belongs to the buffer
            "learned_in": str,
            # 1 when a newer episode says otherwise
            "superseded": int,
        },
        pk="id",
        not_null={"namespace", "text", "source", "created_at", "indexed", "superseded"},
        defaults={"indexed": 0, "superseded": 0},
    )
    db.table("episodes").create_index(["namespace", "learned_in"])
    db.table("episodes").enable_fts(["text"], create_triggers=True)
    db.table("retrievals").create(
        {
            "id": int,
            "namespace": str,
            "at": str,
            "question": str,
            "view": str,
            "reason": str,
            "tokens": int,
            "episodes": str,
        },
        pk="id",
    )
    db.table("retrievals").create_index(["namespace", "at"])
    db.table("events").create({"id": int, "at": str, "kind": str, "detail": str}, pk="id")
    db.table("folder").create({"id": str}, pk="id").insert(
        {"id": uuid.uuid4().hex}
    )  # names this folder's collections on a shared Chroma server


@migrations()
def create_night(db: Database) -> None:
    db.table("nights").create(
        {
            "id": str,
            "namespace": str,
            "upto": int,  # rowid of the newest episode there was
            "started_at": str,
            "finished_at": str,
            "verdict": str,
            "reason": str,
            "report": str,
        },
        pk="id",
    )
    db.table("probes").create(
        {
            "id": str,
            "night_id": str,
            "namespace": str,
            "episode_id": str,
            "kind": str,
            "role": str,
            "question": str,
            "answer": str,
            "stale": str,
            "passed": int,  # closed-book, in the exam that promoted its expert
        },
        pk="id",
    )
    db.table("probes").create_index(["namespace", "night_id"])
    db.table("experts").create(
        {
            "name": str,
            "namespace": str,
            "night_id": str,
            "level": str,
            "rank": int,
            "created_at": str,
            "lineage": str,
            "live": int,
        },
        pk="name",
    )
    db.table("exams").create(
        {"id": int, "night_id": str, "stage": str, "measure": str, "right": float, "total": int},
        pk="id",
    )


@migrations()
def keep_readings(db: Database) -> None:
    db.table("probes").add_column("context", str)  # JSON list of memory lines


@migrations()
def keep_model(db: Database) -> None:
    db.table("folder").add_column(
        "model", str
    )  # hub id, folder or "embedded"; NULL until one was loaded


@migrations()
def keep_dreams(db: Database) -> None:
    db.table("probes").add_column("sources", str)  # JSON list of episode ids that a dream is about
    db.table("dreams").create(
        {
            "id": int,
            "night_id": str,
            "namespace": str,
            "round": int,
            "episodes": str,  # JSON list of ids
            "expert": str,  # the random one that was on
            "text": str,  # as sampled
            "question": str,
            "answer": str,
            "fate": str,
            "importance": float,
            "gain": float,
        },
        pk="id",
    )
    db.table("dreams").create_index(["namespace", "night_id"])


@migrations()
def tell_forgotten(db: Database) -> None:
    # 1 when the weights held it and were found to hold it no more: in the buffer, but no news
    db.table("episodes").add_column("forgotten", int, not_null_default=0)


@migrations()
def keep_corrections(db: Database) -> None:
    # What an expert's night found corrected, so that it is again when the expert is live again.
    db.table("corrected").create(
        {"night_id": str, "episode_id": str}, pk=("night_id", "episode_id")
    )
    db.execute(
        "INSERT INTO corrected SELECT learned_in, id FROM episodes "
        "WHERE superseded = 1 AND learned_in IS NOT NULL"
    )


@migrations()
def number_nights(db: Database) -> None:
    # Numbers order nights; as text the 10,000th would come before the 2,000th.
    db.table("nights").add_column("number", int)
    db.execute("UPDATE nights SET number = CAST(substr(id, 7) AS INTEGER)")
    db.table("nights").create_index(["number"], unique=True)


@migrations()
def tell_looks_apart(db: Database) -> None:
    # How a decision was made (records.Look); until then the reason's sentence told it.
    db.table("retrievals").add_column("look", str, not_null_default="buffer")
    second = "the model was not sure; searched the archive"
    db.execute("UPDATE retrievals SET look = 'again' WHERE reason = ?", [second])
    db.execute(
        "UPDATE retrievals SET look = 'archive' "
        "WHERE look = 'buffer' AND reason LIKE '%searched the archive'"
    )


@migrations()
def tell_what_was_taken_over(db: Database) -> None:
    # 1 for a probe of an expert that the night's own replaces
    db.table("probes").add_column("taken_over", int, not_null_default=0)
    db.execute("UPDATE probes SET taken_over = 1 WHERE id LIKE night_id || '-again-%'")


@migrations()
def give_reports_fields(db: Database) -> None:
    # Costs, sizes and dreams stood in the report's exam.
    numbers = {row["id"]: row["number"] for row in db.query("SELECT id, number FROM nights")}
    reports = list(db.query("SELECT id, report FROM nights WHERE report IS NOT NULL"))
    for row in reports:
        fields = _with_fields(json.loads(row["report"]), numbers)
        db.table("nights").update(row["id"], {"report": json.dumps(fields)})


@migrations()
def keep_what_surrounds(db: Database) -> None:
    # What the agent had said before, who of several spoke, in which conversation, on which day.
    for column in ("speaker", "thread", "answers", "day"):
        db.table("episodes").add_column(column, str)
    db.table("episodes").add_column("outcome", str)  # what came of it, once the turn had ended
    db.table("episodes").add_column("same", str)  # its terms: equal ones say the same
    db.table("episodes").add_column("asks", float)  # log-odds that it asks and tells nothing
    db.table("episodes").add_column("said_again", str)  # id of the newer one that says the same
    db.execute("UPDATE episodes SET day = substr(created_at, 1, 10)")
    # Searched by words of any script, and by pieces of words.
    db.table("episodes").disable_fts()
    db.execute(
        "CREATE VIRTUAL TABLE episode_words USING fts5"
        "(words, asked, content = '', columnsize = 0, detail = 'column', "
        "tokenize = \"unicode61 remove_diacritics 2 categories 'L* N* M* Co'\")"
    )
    db.execute(
        "CREATE VIRTUAL TABLE episode_pieces USING fts5"
        "(text, content = '', columnsize = 0, tokenize = 'trigram')"
    )
    db.execute("CREATE VIRTUAL TABLE word_counts USING fts5vocab(episode_words, col)")
    rows = db.execute("SELECT rowid, namespace, text FROM episodes").fetchall()
    for rowid, namespace, text in rows:
        index_words(db, rowid, namespace=namespace, text=text)
        db.execute("UPDATE episodes SET same = ? WHERE rowid = ?", [same_key(text), rowid])
    db.execute(
        "CREATE INDEX episodes_unindexed ON episodes (namespace) "
        "WHERE indexed = 0 AND learned_in IS NULL AND said_again IS NULL"
    )
    db.execute(
        "CREATE INDEX episodes_replaced ON episodes (namespace) "
        "WHERE said_again IS NOT NULL AND indexed < 2"
    )
    db.table("episodes").create_index(["namespace", "same"])
    db.table("episodes").create_index(["namespace", "created_at"])
    db.table("episodes").create_index(["namespace", "day"])
    db.table("episodes").create_index(["message_id"])


@migrations()
def keep_embeddings(db: Database) -> None:
    # JSON: what the embeddings of the index give for a sentence, and how cosines of theirs are read
    db.table("folder").add_column("embeddings", str)


@migrations()
def look_once(db: Database) -> None:
    # Buffer and archive are searched together: a decision is the first about a question, or not.
    db.execute("UPDATE retrievals SET look = 'first' WHERE look IN ('buffer', 'archive')")


@migrations()
def keep_gates(db: Database) -> None:
    # What a night fitted the gate to (day/gate.py), and the examples that it was fitted to.
    db.table("gates").create({"night_id": str, "namespace": str, "gate": str}, pk="night_id")
    db.table("gate_examples").create(
        {"id": int, "night_id": str, "namespace": str, "example": str}, pk="id"
    )
    db.table("gate_examples").create_index(["night_id"])
    db.table("probes").create_index(["episode_id"])
    # Of a decision for the weights, by how much the score passes as long as the model is certain.
    db.table("retrievals").add_column("margin", float)


@migrations()
def keep_vectors(db: Database) -> None:
    # What is searched by meaning: pieces of episodes, and the questions that the weights answer.
    db.conn.execute(
        "CREATE TABLE pieces ("
        "id TEXT PRIMARY KEY, "
        "namespace TEXT NOT NULL, "
        "episode TEXT, "  # its id; NULL for a known question
        "place TEXT, "  # where it belongs (stores/vectors.py); NULL: nowhere
        "lies_in TEXT, "  # the collection of the index that has it; NULL: none
        "vector BLOB NOT NULL)"
    )
    waits = "lies_in IS NOT place"
    db.execute(f"CREATE INDEX pieces_waiting ON pieces (namespace, place) WHERE {waits}")
    db.execute("CREATE INDEX pieces_place ON pieces (namespace, place)")
    db.execute("CREATE INDEX pieces_lying ON pieces (namespace, lies_in)")
    db.execute("CREATE INDEX pieces_episode ON pieces (episode)")
    db.execute(
        "CREATE TRIGGER pieces_move AFTER UPDATE OF learned_in, superseded, said_again "
        "ON episodes BEGIN UPDATE pieces SET place = "
        f"{place_of('NEW')} WHERE episode = NEW.id; END"
    )
    # Owners whose known questions are to be compared with the index again, and since which change.
    db.table("learned_anew").create({"namespace": str, "change": int}, pk="namespace")
    for table, column in (
        ("episodes", "learned_in"),
        ("episodes", "superseded"),
        ("probes", "passed"),
    ):
        db.execute(
            f"CREATE TRIGGER {table}_{column}_anew AFTER UPDATE OF {column} ON {table} "
            f"WHEN OLD.{column} IS NOT NEW.{column} BEGIN "
            "INSERT INTO learned_anew VALUES (NEW.namespace, 1) "
            "ON CONFLICT DO UPDATE SET change = change + 1; END"
        )
    # `indexed` says from here on whether it has its pieces.
    db.execute("DROP INDEX episodes_unindexed")
    db.execute("DROP INDEX episodes_replaced")
    db.execute("UPDATE episodes SET indexed = 0")
    db.execute(
        "CREATE INDEX episodes_unindexed ON episodes (namespace) "
        "WHERE indexed = 0 AND superseded = 0 AND said_again IS NULL"
    )
    db.execute("INSERT INTO learned_anew SELECT DISTINCT namespace, 1 FROM episodes")


@migrations()
def tell_what_the_clock_dated(db: Database) -> None:
    # 1 when nobody said when it was told: the clock did, and what comes after it is newer
    db.table("episodes").add_column("by_clock", int, not_null_default=0)
    db.execute("UPDATE episodes SET by_clock = created_at <= ?", [now()])
    db.execute(
        "CREATE INDEX episodes_by_clock ON episodes (namespace, created_at) WHERE by_clock = 1"
    )


@migrations()
def seal_experts(db: Database) -> None:
    # What the files of an expert must be: a hash, kept when they are written. NULL for those of
    # before, which get theirs when the folder is opened.
    db.table("seals").create({"name": str, "sha256": str}, pk="name")
    db.execute("INSERT INTO seals (name) SELECT name FROM experts")


@migrations()
def count_episodes(db: Database) -> None:
    # What was stored of each owner: how many, and the sum of their digests. Rows that somebody
    # deletes or adds by hand do not agree with it.
    db.table("tallies").create({"namespace": str, "episodes": int, "digests": int}, pk="namespace")
    for namespace, episode_id in db.execute("SELECT namespace, id FROM episodes").fetchall():
        tally(db, namespace, stored=episode_id)


@migrations()
def find_astray(db: Database) -> None:
    # Pieces that the index has where they belong no more.
    db.execute(
        "CREATE INDEX pieces_astray ON pieces (namespace, lies_in) "
        "WHERE lies_in IS NOT place AND lies_in NOT NULL"
    )


@migrations()
def count_what_was_told(db: Database) -> None:
    # The digests are of all that was stored of an episode, no more of its id alone; and nights are
    # counted, too. What was gone before stays missed.
    db.table("tallies").add_column("nights", int, not_null_default=0)
    for row in list(db.query(f"SELECT namespace, {', '.join(_STORED)} FROM episodes")):
        more = digest(stored_of(row)) - digest(row["id"])
        sql = f"UPDATE tallies SET digests = (digests + ?) & {MOST_DIGEST} WHERE namespace = ?"
        db.conn.execute(sql, [more, row["namespace"]])
    for namespace, number in db.execute(
        "SELECT namespace, count(*) FROM nights GROUP BY namespace"
    ).fetchall():
        tally_nights(db, namespace, number=number)


@migrations()
def know_embeddings_again(db: Database) -> None:
    # What they give for a certain text is kept beside how their cosines are read: measured anew.
    db.execute("UPDATE folder SET embeddings = NULL")


def tally(db: Database, namespace: str, *, stored: str) -> None:
    """Count an episode that is stored: what `stored_of` gives for its row."""
    db.conn.execute(
        "INSERT INTO tallies (namespace, episodes, digests) VALUES (?, 1, ?) "
        "ON CONFLICT (namespace) DO UPDATE SET "
        f"episodes = episodes + 1, digests = (digests + excluded.digests) & {MOST_DIGEST}",
        [namespace, digest(stored)],
    )


def tally_nights(db: Database, namespace: str, *, number: int = 1) -> None:
    """Count nights that have begun."""
    db.conn.execute(
        "INSERT INTO tallies (namespace, episodes, digests, nights) VALUES (?, 0, 0, ?) "
        "ON CONFLICT (namespace) DO UPDATE SET nights = nights + excluded.nights",
        [namespace, number],
    )


@migrations()
def keep_notes(db: Database) -> None:
    # What the teacher drew from episodes, a statement each.
    db.table("notes").create(
        {
            "id": str,
            "namespace": str,
            "episode_id": str,
            "text": str,
            # the sentence of the episode that tells it; where nothing was drawn from it, no text
            "part": str,
            # the newer note that says otherwise, and the night that found so
            "replaced_by": str,
            "replaced_in": str,
        },
        pk="id",
        not_null={"namespace", "episode_id", "text", "part"},
    )
    db.table("notes").create_index(["episode_id"])
    db.table("probes").add_column("note_id", str)


@migrations()
def keep_habits(db: Database) -> None:
    # What the habits of the model that was used last are known by; NULL or empty: it has none.
    db.table("folder").add_column("habits", str)


@migrations()
def keep_receipts(db: Database) -> None:
    # What was forgotten, without a word of it, each chained to the one before.
    db.table("receipts").create(
        {
            "number": int,
            "namespace": str,
            "at": str,
            "asked": str,
            "removed": str,
            "experts": str,
            "returned": int,
            "proof": str,
            "previous": str,
            "sha256": str,
        },
        pk="number",
        not_null={"namespace", "at", "asked", "removed", "experts", "returned", "sha256"},
    )


@migrations()
def finish_forgetting(db: Database) -> None:
    # Messages whose episodes were forgotten: handed over again, they are not stored again.
    db.table("forgotten").create(
        {"namespace": str, "thread": str, "id": str}, pk=("namespace", "thread", "id")
    )
    # 1 while files may have bytes of what was forgotten; the hash of the last receipt.
    db.table("folder").add_column("unclean", int, not_null_default=0)
    db.table("folder").add_column("last_receipt", str)


@migrations()
def learn_notes(db: Database) -> None:
    # The night whose expert is proven to hold a note, though its episode has others that none does.
    db.table("notes").add_column("learned_in", str)
    db.execute(
        "UPDATE notes SET learned_in = (SELECT p.night_id FROM probes p "
        "JOIN experts x ON x.night_id = p.night_id AND x.live = 1 "
        "WHERE p.note_id = notes.id AND p.kind = 'fact' AND p.role = 'exam' "
        "GROUP BY p.night_id HAVING min(coalesce(p.passed, 0)) = 1 "
        "ORDER BY p.night_id DESC LIMIT 1)"
    )
    db.execute(
        "CREATE TRIGGER notes_learned_in_anew AFTER UPDATE OF learned_in ON notes "
        "WHEN OLD.learned_in IS NOT NEW.learned_in BEGIN "
        "INSERT INTO learned_anew VALUES (NEW.namespace, 1) "
        "ON CONFLICT DO UPDATE SET change = change + 1; END"
    )


@migrations()
def keep_how_long_it_lasts(db: Database) -> None:
    # Until when an episode holds, UTC; NULL: nobody said.
    db.table("episodes").add_column("lasts", str)


@migrations()
def keep_what_the_gate_went_by(db: Database) -> None:
    # The id of the known question that let the weights answer; empty: memories were read.
    db.table("retrievals").add_column("known", str)


@migrations()
def keep_what_nights_took(db: Database) -> None:
    # What each night was about to teach; of those before, what they asked about.
    db.table("taken").create({"night_id": str, "episode_id": str}, pk=("night_id", "episode_id"))
    db.table("taken").create_index(["episode_id"])
    db.execute(
        "INSERT OR IGNORE INTO taken SELECT night_id, episode_id FROM probes "
        "WHERE kind = 'fact' AND taken_over = 0"
    )


@migrations()
def tell_sentences_without_notes_apart(db: Database) -> None:
    # All of an episode had one id, so one was kept of them.
    for row in list(db.query("SELECT id, episode_id, part FROM notes WHERE text = ''")):
        content = f"{row['episode_id']}\n{row['part']}"
        changed = hashlib.sha256(content.encode()).hexdigest()[:24]
        told = db.conn.execute(
            "UPDATE OR IGNORE notes SET id = ? WHERE id = ?", [changed, row["id"]]
        )
        if not told.rowcount:
            # Two versions wrote it: it is there under the new id.
            db.execute("DELETE FROM notes WHERE id = ?", [row["id"]])


@migrations()
def find_what_was_asked(db: Database) -> None:
    # By the question, as every second look does; and whose turn a message began.
    db.execute("CREATE INDEX retrievals_asked ON retrievals (namespace, question)")
    db.execute(f"CREATE INDEX events_of_messages ON events (kind, {MESSAGE_OF})")
    db.table("forgotten").create_index(["thread", "id"])


@migrations()
def keep_notes_before_a_dry_run(db: Database) -> None:
    # JSON list of the rows of an episode's notes, until the dry run that changes them is over.
    db.table("notes_before").create(
        {"night_id": str, "episode_id": str, "notes": str}, pk=("night_id", "episode_id")
    )


@migrations()
def hash_what_was_forgotten(db: Database) -> None:
    # Keys of hashes: the folder's own, then those of exports that came in.
    db.table("keys").create({"key": str}, pk="key").insert({"key": secrets.token_hex(16)})
    # Ids of messages may hold words; now each is a hash (stores/forgotten.py) with one of the keys.
    before = list(db.query("SELECT namespace, thread, id FROM forgotten"))
    db.table("forgotten").drop()
    db.table("forgotten").create({"namespace": str, "key": str, "id": str}, pk=("id", "namespace"))
    ((key,),) = db.execute("SELECT key FROM keys").fetchall()
    for row in before:
        hashed = hashed_with(key, row["thread"], row["id"])
        told = {"namespace": row["namespace"], "key": key, "id": hashed}
        db.table("forgotten").insert(told, ignore=True)
    if before:
        db.execute("UPDATE folder SET unclean = 1")


@migrations()
def count_receipts(db: Database) -> None:
    # How many were written, of each owner.
    db.table("receipt_counts").create({"namespace": str, "number": int}, pk="namespace")
    db.execute(
        "INSERT INTO receipt_counts SELECT namespace, count(*) FROM receipts GROUP BY namespace"
    )


def hashed_with(key: str, *texts: str) -> str:
    """HMAC-SHA-256 of these texts, with the key, both in hexadecimal digits."""
    return hmac.new(bytes.fromhex(key), json.dumps(texts).encode(), hashlib.sha256).hexdigest()


def stored_of(row: Any) -> str:
    """What is digested of an episode's row: all that no night and nobody later changes."""
    # SQLite keeps -0.0 as 0.0.
    values: list[Any] = []
    for column in _STORED:
        values.append(row[column] + 0.0 if isinstance(row[column], float) else row[column])
    return json.dumps(values, default=repr)


def digest(stored: str) -> int:
    """60 bits that tell it: the sum of two is a number of SQLite's still."""
    return int.from_bytes(hashlib.sha256(stored.encode()).digest()) & MOST_DIGEST


def place_of(row: str) -> str:
    """SQL for where an episode's pieces belong; `row` is its alias."""
    return (
        f"CASE WHEN {row}.said_again IS NOT NULL OR {row}.superseded = 1 THEN NULL "
        f"WHEN {row}.learned_in IS NOT NULL THEN 'archive' "
        f"WHEN coalesce({row}.asks, 0) >= {SURELY_ASKS} THEN 'asked' ELSE 'episodes' END"
    )


def index_words(db: Database, rowid: int, *, namespace: str, text: str, asks: bool = False) -> None:
    """Make an episode findable by its words and by pieces of them.

    The words of what surely asks are kept apart: that somebody asked for a word makes it no known
    one.
    """
    words = " ".join(dict.fromkeys(owned_words(namespace, terms(text))))
    row = [rowid, "" if asks else words, words if asks else ""]
    db.conn.execute("INSERT INTO episode_words (rowid, words, asked) VALUES (?, ?, ?)", row)
    sql = "INSERT INTO episode_pieces (rowid, text) VALUES (?, ?)"
    # A text ends for SQLite's tokenizer where it has a zero.
    db.conn.execute(sql, [rowid, normalised(text).replace("\0", " ")])


def owned_words(namespace: str, words: Iterable[str]) -> list[str]:
    """The words as the full-text index has them: each owner's are words of their own.

    So neither what is found nor what it costs depends on other owners.
    """
    owner = hashlib.sha256(namespace.encode()).hexdigest()[:16]
    return [f"n{owner}{word}" for word in words]


def same_key(text: str, *, asks: bool = False) -> str:
    """Equal for texts of the same words in the same order that both ask, or both tell."""
    words = " ".join(terms(text) or (text,))
    return hashlib.sha256(f"{words}{'?' * asks}".encode()).hexdigest()[:24]


def _with_fields(report: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    exam = dict(report.get("exam", {}))
    fields = {**report, "number": numbers.get(report.get("night_id", ""), 0)}
    for name in ("tokens_generated", "peak_bytes", "expert_bytes", "text_bytes", "dreams"):
        if name in exam:
            fields[name] = exam.pop(name)
    fields["step_seconds"] = exam.pop("seconds", {})
    fields["recall_by_night"] = []
    for night_id, rate in exam.pop("by_night", {}).items():
        fields["recall_by_night"].append({"night": numbers.get(night_id, 0), "rate": rate})
    fields["slower"] = [_with_fields(slower, numbers) for slower in report.get("slower", [])]
    return {**fields, "exam": exam}
