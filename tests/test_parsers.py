"""Any bytes at all: a parser reads them or says that it does not, by the errors it declares."""

from __future__ import annotations

import contextlib
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.parsers import PARSERS, Parser

EXAMPLES = int(os.environ.get("HALO_PARSER_EXAMPLES", "60"))
# What parsers trip over: ends of structures, lengths, deep nesting, numbers and names beyond what is usual.
PIECES = (
    b"", b"\x00", b"\xff" * 9, b"\n", b"{", b"}", b'"', b"null", b"1e999", b"-0", b"9" * 5000,
    b"\\ud800", b"\xed\xa0\x80", b"[]", b"{}", b"true", b'""', b"\xef\xbb\xbf",
    b"[" * 2000, b"a = " + b"[" * 2000, b'{"a":' * 2000,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, parser: Parser) -> bytes:
    """Cut pieces out of well-formed input, and put others in."""
    body = bytearray(draw(st.sampled_from(parser.samples)))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 12)))
        body[start:end] = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)))
    return bytes(body)


@pytest.mark.parametrize("name", PARSERS)
def test_a_well_formed_input_is_read(name: str) -> None:
    for sample in PARSERS[name].samples:
        try:
            PARSERS[name].read(sample)
        except PARSERS[name].refuses:
            assert name == "report.json", "its sample is a beginning alone"


@pytest.mark.parametrize("name", PARSERS)
def test_what_parsers_trip_over_is_read_or_refused_wherever_it_stands(name: str) -> None:
    parser = PARSERS[name]
    for sample in (b"", *parser.samples):
        for piece in PIECES:
            for place in sorted({len(sample) * part // 4 for part in range(5)}):
                with contextlib.suppress(*parser.refuses):
                    parser.read(sample[:place] + piece + sample[place:])


@pytest.mark.parametrize("name", PARSERS)
def test_any_bytes_are_read_or_refused(name: str) -> None:
    parser = PARSERS[name]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(damaged(parser), st.binary(max_size=200)))
    def reads(body: bytes) -> None:
        with contextlib.suppress(*parser.refuses):
            parser.read(body)

    reads()
