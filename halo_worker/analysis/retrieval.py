"""Retrieval by what a span does: plain spans and tasks that return documents are retrievers, whatever their type."""

from __future__ import annotations

from halo_receiver.store.reader import Reader

MIN_RESULTS = 3  # lists of documents of one name in a service, from which its spans retrieve
MOSTLY = 0.8  # of the results that are not empty

# Objects with a text: `page_content` of LangChain, `text` of LlamaIndex, `content` and `document` of vector stores.
_DOCUMENTS = r'^\s*\[\s*\{(?s:.)*"(page_content|content|text|document|snippet|chunk|passage)"\s*:\s*"'

# Counted in `_listing`.
LISTING = f"""
  SELECT service_name, name, count(*) AS n, count(*) FILTER (regexp_matches(output_head, '{_DOCUMENTS}')) AS documents
  FROM _s WHERE (span_type IS NULL OR span_type IN ('task', 'chain')) AND output_length > 2 AND tool_name IS NULL
  GROUP BY service_name, name
"""
_NAMES = f"SELECT service_name, name FROM _listing WHERE documents >= greatest({MIN_RESULTS}, {MOSTLY} * n)"


def recognise(reader: Reader) -> None:
    """Make retrievers of the spans in `_s` that return documents as a rule, also of those that then return none.

    Needs `_listing`, the counts of `LISTING`.
    """
    execute = reader.connection.execute
    execute(f"CREATE OR REPLACE TEMP TABLE _retrieving AS {_NAMES}")
    if execute("SELECT 1 FROM _retrieving LIMIT 1").fetchone():
        execute(
            "UPDATE _s SET span_type = 'retriever' FROM _retrieving r WHERE r.name = _s.name "
            "AND r.service_name IS NOT DISTINCT FROM _s.service_name "
            "AND (span_type IS NULL OR span_type IN ('task', 'chain'))"
        )
