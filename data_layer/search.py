"""Search: the threads of a user that hold some words, in a title or in a message.

The newest 1,000 titles and the newest 1,000 messages that hold all the words are looked at, so
that a word of every message costs no more than another. Titles come first, then threads with more
messages that match, then the newest; one row for a thread, with its newest message that matches.
What an edit replaced is not found: opening its thread shows the chosen branch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.engine import Connection

from data_layer.pages import (
    LISTED_COLUMNS,
    decode_cursor,
    encode_cursor,
    is_rated,
    not_ours,
    page_size,
)
from data_layer.rows import AnyRow
from data_layer.snippet import Snippet, snippet_of
from data_layer.tables import OFF_BRANCH, search_documents, steps, threads, turns
from data_layer.words import LARGEST_TEXT, MESSAGE, TITLE, Kind, Query, owner_place, query_of


@dataclass(frozen=True, slots=True)
class Effort:
    """How much a search looks at.

    Where of the newest `sample` documents one in `one_in` matches, the newest are walked through
    until there are `most_hits`: the index would first collect every hit there is.
    """

    most_hits: int = 1000
    sample: int = 200
    one_in: int = 4

    @property
    def walk(self) -> int:
        """How many documents a walk looks at."""
        return self.most_hits * self.one_in


_EFFORT = Effort()
_documents = search_documents.c
# SQLite's FTS5 table; its own name is the column that a MATCH is on.
_index = sa.table("search_index", sa.column("rowid", sa.Integer), sa.column("search_index"))

AnySelect = sa.Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A thread that was found, and where: in a step, or with None in its title."""

    thread: AnyRow
    step_id: str | None
    snippet: Snippet


@dataclass(frozen=True, slots=True)
class SearchPage:
    """One page of hits; `next_cursor` is None on the last."""

    hits: Sequence[SearchHit]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Asked:
    """Words that all must be there, and where: the owner's titles or messages."""

    owner_id: str
    kind: Kind
    query: Query
    effort: Effort

    def words(self) -> tuple[list[str], list[str]]:
        place = owner_place(self.owner_id, self.kind)
        return [place + w for w in self.query.words], [place + w for w in self.query.begins]


def search_threads(  # noqa: PLR0913 - the first two say where, the rest what
    connection: Connection,
    owner_id: str,
    text: str,
    *,
    limit: int,
    cursor: str | None = None,
    feedback: int | None = None,
    effort: Effort = _EFFORT,
) -> SearchPage:
    """Find the owner's threads; raises `InvalidRequest` for a cursor that is none of ours.

    A text that has no word, only signs, finds nothing. The last word may be the beginning of one.
    """
    after = _place_of(cursor) if cursor else None
    query, size = query_of(text), page_size(limit)
    if not (query.words or query.begins):
        return SearchPage([], None)
    of_thread = _ranked(
        _hits(connection, _Asked(owner_id, TITLE, query, effort)),
        _shown(_hits(connection, _Asked(owner_id, MESSAGE, query, effort)), owner_id),
    )
    ranked = (
        sa.select(*LISTED_COLUMNS, of_thread.c.score, of_thread.c.newest, of_thread.c.message)
        .join(of_thread, of_thread.c.thread_id == threads.c.id)
        .where(threads.c.owner_id == owner_id, threads.c.deleted_at.is_(None))
        .order_by(of_thread.c.score.desc(), of_thread.c.newest.desc())
        .limit(size + 1)
    )
    if after:
        ranked = ranked.where(sa.tuple_(of_thread.c.score, of_thread.c.newest) < after)
    if feedback is not None:
        ranked = ranked.where(is_rated(owner_id, feedback))
    rows = connection.execute(ranked).all()
    shown = rows[:size]
    last = shown[-1] if len(rows) > size else None
    return SearchPage(
        _with_snippets(connection, owner_id, shown, query),
        encode_cursor(str(last.score), str(last.newest)) if last else None,
    )


def _hits(connection: Connection, asked: _Asked) -> AnySelect:
    """Select the newest documents that match, in the way that costs less."""
    sample = _walked(connection, asked, asked.effort.sample).subquery()
    met = connection.execute(sa.select(sa.func.count()).select_from(sample)).scalar_one()
    if met * asked.effort.one_in >= asked.effort.sample:
        walked = connection.execute(_walked(connection, asked, asked.effort.walk)).all()
        # Otherwise what is older has hits that belong to these.
        if len(walked) == asked.effort.most_hits or not _has_more_than(
            connection, asked, asked.effort.walk
        ):
            return sa.select(_documents.id, _documents.thread_id, _documents.step_id).where(
                _documents.id.in_([row.id for row in walked]),
                _documents.owner_id == asked.owner_id,
            )
    return _INDEXED[connection.dialect.name](asked)


def _has_more_than(connection: Connection, asked: _Asked, documents: int) -> bool:
    beyond = _newest(asked).with_only_columns(_documents.id).offset(documents).limit(1)
    return connection.execute(beyond).first() is not None


def _walked(connection: Connection, asked: _Asked, documents: int) -> AnySelect:
    """Select what matches among the newest documents, by looking at each."""
    newest = _newest(asked).limit(documents).subquery()
    return (
        sa.select(newest.c.id, newest.c.thread_id, newest.c.step_id)
        .where(_MATCHES[connection.dialect.name](newest.c.words, asked))
        .order_by(newest.c.id.desc())
        .limit(asked.effort.most_hits)
    )


def _newest(asked: _Asked) -> AnySelect:
    """Select the documents of a kind, the newest first."""
    is_title = _documents.step_id.is_(None)
    return (
        sa.select(search_documents)
        .where(
            # Said as a range, so that the order is only to be had from the index of owners: where
            # PostgreSQL sees that it is one, it may walk through the documents of everybody.
            _documents.owner_id.between(asked.owner_id, asked.owner_id),
            is_title if asked.kind == TITLE else ~is_title,
        )
        .order_by(_documents.owner_id, _documents.id.desc())
    )


def _matches_in_postgres(words: sa.ColumnElement[Any], asked: _Asked) -> sa.ColumnElement[bool]:
    whole, begun = asked.words()
    text = " & ".join([*(f"'{word}'" for word in whole), *(f"'{word}':*" for word in begun)])
    return words.bool_op("@@")(sa.cast(text, TSQUERY))


def _matches_in_sqlite(words: sa.ColumnElement[Any], asked: _Asked) -> sa.ColumnElement[bool]:
    whole, begun = asked.words()
    looked_for = [*(f" {word} " for word in whole), *(f" {word}" for word in begun)]
    return sa.and_(*(sa.func.instr(words, one) > 0 for one in looked_for))


def _indexed_in_postgres(asked: _Asked) -> AnySelect:
    found = (
        sa.select(_documents.id, _documents.owner_id, _documents.thread_id, _documents.step_id)
        .where(_matches_in_postgres(_documents.words, asked))
        .cte(f"found_{asked.kind}")
        # Without this the planner may walk through all documents of the owner instead.
        .prefix_with("MATERIALIZED")
    )
    return (
        sa.select(found.c.id, found.c.thread_id, found.c.step_id)
        .where(found.c.owner_id == asked.owner_id)
        .order_by(found.c.id.desc())
        .limit(asked.effort.most_hits)
    )


def _indexed_in_sqlite(asked: _Asked) -> AnySelect:
    whole, begun = asked.words()
    text = " AND ".join([*(f'"{word}"' for word in whole), *(f'"{word}"*' for word in begun)])
    return (
        sa.select(_documents.id, _documents.thread_id, _documents.step_id)
        .join_from(_index, search_documents, _documents.id == _index.c.rowid)
        .where(_index.c.search_index.bool_op("MATCH")(text), _documents.owner_id == asked.owner_id)
        .order_by(_index.c.rowid.desc())
        .limit(asked.effort.most_hits)
    )


_MATCHES: dict[str, Callable[[sa.ColumnElement[Any], _Asked], sa.ColumnElement[bool]]] = {
    "postgresql": _matches_in_postgres,
    "sqlite": _matches_in_sqlite,
}
_INDEXED: dict[str, Callable[[_Asked], AnySelect]] = {
    "postgresql": _indexed_in_postgres,
    "sqlite": _indexed_in_sqlite,
}


def _shown(messages: AnySelect, owner_id: str) -> AnySelect:
    """Leave of the messages those that opening their thread shows: of the chosen branch."""
    replaced = sa.union_all(
        *(
            sa.select(turns.c[name]).where(turns.c.owner_id == owner_id, OFF_BRANCH)
            for name in ("user_step_id", "answer_step_id")
        )
    )
    said = messages.subquery()
    return sa.select(said).where(said.c.step_id.not_in(replaced))


def _ranked(titles: AnySelect, messages: AnySelect) -> sa.Subquery:
    """Put the threads of these hits in order: of each its score and its newest hit.

    A title is worth more than any number of messages, of which two, four and eight are a step each.
    """
    hit = sa.union_all(sa.select(titles.subquery()), messages).subquery()
    in_messages = sa.func.count(hit.c.step_id)
    in_title = sa.func.count() - in_messages
    score = sum(
        (sa.case((in_messages >= many, 1), else_=0) for many in (2, 4, 8)),
        start=sa.case((in_title > 0, 4), else_=0),
    )
    return (
        sa.select(
            hit.c.thread_id,
            score.label("score"),
            sa.func.max(hit.c.id).label("newest"),
            sa.func.max(sa.case((hit.c.step_id.is_not(None), hit.c.id))).label("message"),
        )
        .group_by(hit.c.thread_id)
        .subquery()
    )


def _with_snippets(
    connection: Connection, owner_id: str, rows: Sequence[AnyRow], query: Query
) -> list[SearchHit]:
    shown = sa.select(
        _documents.id,
        steps.c.id.label("step_id"),
        sa.func.substr(steps.c.output, 1, LARGEST_TEXT).label("text"),
    ).join_from(search_documents, steps, steps.c.id == _documents.step_id)
    ids = [row.message for row in rows if row.message is not None]
    found = connection.execute(
        shown.where(
            _documents.id.in_(ids),
            _documents.owner_id == owner_id,
            steps.c.owner_id == owner_id,
        )
    )
    texts = {row.id: row for row in found}
    hits = []
    for row in rows:
        message = texts.get(row.message)
        text = message.text if message else row.name
        hits.append(SearchHit(row, message and message.step_id, snippet_of(text, query)))
    return hits


def _place_of(cursor: str) -> tuple[int, int]:
    try:
        score, newest = map(int, decode_cursor(cursor))
    except ValueError:
        raise not_ours() from None
    if not (0 <= score < 8 and 0 < newest < 2**63):
        raise not_ours()
    return score, newest
