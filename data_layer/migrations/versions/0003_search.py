"""Full-text search: the words of titles, questions and answers, kept by triggers.

Revision: 0003
Follows: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

from data_layer.tables import Id
from data_layer.words import LARGEST_TEXT, LARGEST_WORD, MARKS, SEPARATORS, UNSPACED

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# An answer is found when it is over, not at each checkpoint; what no turn owns, at once.
_SEARCHED = "{0}.type IN ('user_message', 'assistant_message')"
_OVER = "({0}.turn_id IS NULL OR {0}.type = 'user_message' OR {0}.ended_at IS NOT NULL)"
_ADDED = f"{_SEARCHED} AND {_OVER} AND {{0}}.output <> ''".format("NEW")
_CHANGED = f"{_SEARCHED} AND {_OVER}".format("NEW")

_ADD_TITLE = """
    INSERT INTO search_documents (owner_id, thread_id, words)
    VALUES (NEW.owner_id, NEW.id, search_words(NEW.owner_id, 't', NEW.name));
"""
_CHANGE_TITLE = """
    UPDATE search_documents SET words = search_words(NEW.owner_id, 't', NEW.name)
    WHERE thread_id = NEW.id AND owner_id = NEW.owner_id AND step_id IS NULL;
"""
_DELETE_THREAD = """
    DELETE FROM search_documents WHERE thread_id = NEW.id AND owner_id = NEW.owner_id;
"""
_SET_STEP = """
    INSERT INTO search_documents (owner_id, thread_id, step_id, words)
    VALUES (NEW.owner_id, NEW.thread_id, NEW.id, search_words(NEW.owner_id, 'm', NEW.output))
    ON CONFLICT (step_id) WHERE step_id IS NOT NULL DO UPDATE SET words = excluded.words
    WHERE search_documents.owner_id = excluded.owner_id;
"""
_DELETE_STEP = """
    DELETE FROM search_documents WHERE step_id = OLD.id AND owner_id = OLD.owner_id;
"""
# The answer of a process that died: its text is there, its step was never ended.
_SET_INTERRUPTED = """
    INSERT INTO search_documents (owner_id, thread_id, step_id, words)
    SELECT owner_id, thread_id, id, search_words(owner_id, 'm', output) FROM steps
    WHERE id = NEW.answer_step_id AND owner_id = NEW.owner_id AND output <> ''
    ON CONFLICT (step_id) WHERE step_id IS NOT NULL DO UPDATE SET words = excluded.words
    WHERE search_documents.owner_id = excluded.owner_id;
"""
_TRIGGERS = {
    "search_thread_added": ("AFTER INSERT ON threads", "NEW.deleted_at IS NULL", _ADD_TITLE),
    "search_thread_renamed": (
        "AFTER UPDATE OF name ON threads",
        "NEW.deleted_at IS NULL AND OLD.name <> NEW.name",
        _CHANGE_TITLE,
    ),
    "search_thread_deleted": (
        "AFTER UPDATE OF deleted_at ON threads",
        "NEW.deleted_at IS NOT NULL",
        _DELETE_THREAD,
    ),
    "search_step_added": ("AFTER INSERT ON steps", _ADDED, _SET_STEP),
    "search_step_changed": ("AFTER UPDATE OF output, ended_at ON steps", _CHANGED, _SET_STEP),
    "search_step_deleted": ("AFTER DELETE ON steps", "true", _DELETE_STEP),
    "search_turn_interrupted": (
        "AFTER UPDATE OF state ON turns",
        "NEW.state = 'interrupted'",
        _SET_INTERRUPTED,
    ),
}


def upgrade() -> None:
    postgres = op.get_context().dialect.name == "postgresql"
    op.create_table(
        "search_documents",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("owner_id", Id, nullable=False),
        sa.Column("thread_id", Id, sa.ForeignKey("threads.id", ondelete="CASCADE"), nullable=False),
        sa.Column("step_id", Id),
        sa.Column("words", sa.Text().with_variant(TSVECTOR, "postgresql"), nullable=False),
        sqlite_autoincrement=True,
    )
    for name, which in (("titles", "step_id IS NULL"), ("messages", "step_id IS NOT NULL")):
        op.create_index(
            f"ix_search_documents_{name}",
            "search_documents",
            ["owner_id", sa.text("id DESC")],
            sqlite_where=sa.text(which),
            postgresql_where=sa.text(which),
        )
    of_step = sa.text("step_id IS NOT NULL")
    op.create_index(
        "uq_search_documents_step",
        "search_documents",
        ["step_id"],
        unique=True,
        sqlite_where=of_step,
        postgresql_where=of_step,
    )
    op.create_index("ix_search_documents_thread", "search_documents", ["thread_id"])
    if postgres:
        _create_words_function()
    else:
        _create_fts_table()
    _index_what_is_there()
    if postgres:
        # After the rows: made at once it is far faster, and smaller. Without the list of pending
        # entries, which each search would read and an unlucky turn would empty.
        op.create_index(
            "ix_search_documents_words",
            "search_documents",
            ["words"],
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        )
    for name, (event, condition, action) in _TRIGGERS.items():
        _create_trigger(name, event, condition, action)


def _create_words_function() -> None:
    """Do in SQL what `words.document_words` does; the words of a text come in no order."""
    op.execute(
        rf"""
        CREATE FUNCTION search_words(owner_id uuid, kind text, body text) RETURNS tsvector
        LANGUAGE plpgsql IMMUTABLE AS $function$
        DECLARE
            place text := right(owner_id::text, 8) || kind;
            folded text := left(body, {LARGEST_TEXT});
        BEGIN
            IF octet_length(folded) = length(folded) THEN
                folded := regexp_replace(lower(folded COLLATE "C"), '[^a-z0-9]+', ' ', 'g');
            ELSE
                folded := lower(normalize(folded, NFKD) COLLATE "{_collation()}");
                folded := regexp_replace(folded, '[{MARKS}]', '', 'g');
                folded := replace(normalize(folded, NFC), U&'\03c2', U&'\03c3');
                folded := left(replace(folded, U&'\00df', 'ss'), {LARGEST_TEXT});
                folded := regexp_replace(folded, '[{SEPARATORS}]+', ' ', 'g');
            END IF;
            IF octet_length(folded) <> length(folded) AND folded ~ '[{UNSPACED}]' THEN
                folded := regexp_replace(folded, '([{UNSPACED}]+)', ' \1 ', 'g');
                -- Pairs from the first character of each run, then from the second.
                folded := regexp_replace(folded, '([{UNSPACED}][{UNSPACED}])', '\1 ', 'g') || ' '
                    || regexp_replace(
                        regexp_replace(folded, ' ([{UNSPACED}])', ' \1 ', 'g'),
                        '([{UNSPACED}][{UNSPACED}])', '\1 ', 'g'
                    );
            END IF;
            IF folded ~ '[^ ]{{{LARGEST_WORD + 1}}}' THEN
                folded := regexp_replace(folded, '([^ ]{{{LARGEST_WORD}}})[^ ]+', '\1', 'g');
            END IF;
            -- The place before each word; what is between two spaces is then the place alone.
            folded := place || replace(folded, ' ', ' ' || place);
            RETURN array_to_tsvector(array_remove(string_to_array(folded, ' '), place));
        END
        $function$
        """
    )


def _collation() -> str:
    """Choose what knows upper and lower case in all scripts, whatever the database's locale is."""
    known = set(op.get_bind().execute(sa.text("SELECT collname FROM pg_collation")).scalars())
    preferred = ("pg_unicode_fast", "pg_c_utf8", "und-x-icu")
    return next((name for name in preferred if name in known), "default")


def _create_fts_table() -> None:
    """Make the index of `search_documents.words`; pairs and folding are done, so ascii will do."""
    op.execute(
        "CREATE VIRTUAL TABLE search_index USING fts5(words, content='search_documents',"
        " content_rowid='id', tokenize='ascii', detail='none', columnsize=0)"
    )
    add = "INSERT INTO search_index (rowid, words) VALUES (NEW.id, NEW.words);"
    remove = "INSERT INTO search_index (search_index, rowid, words) VALUES ('delete', OLD.id, OLD.words);"
    _create_trigger("search_index_added", "AFTER INSERT ON search_documents", "true", add)
    _create_trigger("search_index_removed", "AFTER DELETE ON search_documents", "true", remove)
    _create_trigger(
        "search_index_changed",
        "AFTER UPDATE OF words ON search_documents",
        "true",
        remove + add,
    )


def _create_trigger(name: str, event: str, condition: str, action: str) -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER {name} {event} FOR EACH ROW WHEN {condition} BEGIN {action} END"
        )
        return
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql"
        f" AS $function$ BEGIN {action} RETURN NULL; END $function$"
    )
    op.execute(
        f"CREATE TRIGGER {name} {event} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {name}()"
    )


def _index_what_is_there() -> None:
    """Index in the order in which things were written: a higher id is what is newer."""
    op.execute(
        f"""
        INSERT INTO search_documents (owner_id, thread_id, step_id, words)
        SELECT steps.owner_id, steps.thread_id, steps.id,
            search_words(steps.owner_id, 'm', steps.output)
        FROM steps LEFT JOIN turns ON turns.id = steps.turn_id
        WHERE steps.output <> '' AND {_SEARCHED.format("steps")}
            AND ({_OVER.format("steps")} OR turns.ended_at IS NOT NULL)
        ORDER BY steps.created_at, steps.arrival, steps.ordinal
        """  # noqa: S608 - of constants
    )
    op.execute(
        """
        INSERT INTO search_documents (owner_id, thread_id, words)
        SELECT owner_id, id, search_words(owner_id, 't', name) FROM threads
        WHERE deleted_at IS NULL ORDER BY last_active_at, id
        """
    )


def downgrade() -> None:
    postgres = op.get_context().dialect.name == "postgresql"
    for name, (event, _, _) in _TRIGGERS.items():
        table = event.rpartition(" ")[2]
        op.execute(f"DROP TRIGGER {name} ON {table}" if postgres else f"DROP TRIGGER {name}")
        if postgres:
            op.execute(f"DROP FUNCTION {name}")
    if not postgres:
        op.execute("DROP TABLE search_index")
    op.drop_table("search_documents")
    if postgres:
        op.execute("DROP FUNCTION search_words")
