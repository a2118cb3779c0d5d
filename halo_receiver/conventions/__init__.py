"""What a span means, whichever GenAI convention sent it.

    mapping.toml ──table, sources──▶ meaning.canonical(span) ──▶ Canonical      messages, tools, values: shapes
                                     logs.from_log(record)   ──▶ fields of its span   errors, cost, normalise: values

The mapping is data: to teach halo a convention, edit mapping.toml. MAPPING_VERSION is stored with every segment, so
that old ones can be derived again.
"""

from halo_receiver.conventions.logs import from_log
from halo_receiver.conventions.meaning import MAPPING_VERSION, TABLE, canonical
from halo_receiver.conventions.signature import error_signature

__all__ = ["MAPPING_VERSION", "TABLE", "canonical", "error_signature", "from_log"]
