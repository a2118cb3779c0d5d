"""What a call probably cost, from the price list that ships inside genai-prices. Never asks the network."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_MILLION = 1_000_000
_DAY = 86_400 * 10**9
_NEWEST = datetime(2200, 1, 1, tzinfo=UTC)  # of a call without a time: the last price known
_PROVIDERS = {  # our names → genai-prices' ids
    "aws.bedrock": "aws", "azure.ai.openai": "azure", "azure.ai.inference": "azure", "gcp.gemini": "google",
    "gcp.vertex_ai": "google", "gcp.gen_ai": "google", "mistral_ai": "mistral", "x_ai": "x-ai",
    "together_ai": "together",
}  # fmt: skip
_MAKERS = ("openai", "anthropic", "google", "mistral", "cohere", "voyageai", "deepseek", "x-ai", "meta")
_MAX_KNOWN = 4_096


@dataclass(frozen=True, slots=True)
class _Rates:
    """USD per token. Above each threshold (tokens of the whole prompt) the next row of rates applies to all."""

    thresholds: tuple[int, ...]
    rows: tuple[tuple[float, float, float, float], ...]  # input, cached, cache write, output


# A calculation by the package costs 0.15–0.5 ms, one from these rates 0.5 µs; the rates of a day do not change.
_KNOWN: dict[tuple[str, str | None, int], _Rates | None] = {}


def estimate(
    model: str | None,
    provider: str | None,
    *,
    at_unix_nano: int,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None,
    cache_write_tokens: int | None,
) -> float | None:
    """Return USD at list price on the day of the call; None when model or tokens are unknown.

    `input_tokens` is the whole prompt; its cached and cache-written parts are priced as such.
    """
    if not model or (input_tokens is None and output_tokens is None):
        return None
    key = (model, provider, at_unix_nano // _DAY)
    if key not in _KNOWN:
        if len(_KNOWN) >= _MAX_KNOWN:
            _KNOWN.clear()
        _KNOWN[key] = _rates(*key)
    rates = _KNOWN[key]
    if rates is None:
        return None
    whole = input_tokens or 0
    read = min(cached_tokens or 0, whole)
    written = min(cache_write_tokens or 0, whole - read)
    base, per_read, per_written, per_output = rates.rows[bisect_left(rates.thresholds, whole)]
    total = (whole - read - written) * base + read * per_read + written * per_written
    return round(total + (output_tokens or 0) * per_output, 12)


def context_window(model: str, provider: str | None) -> int | None:
    """Return how many tokens a model takes at once, where the price list knows it."""
    found = _model(model, _PROVIDERS.get(provider or "", provider))
    size = getattr(found, "context_window", None)
    return int(size) if size else None


def _rates(model: str, provider: str | None, day: int) -> _Rates | None:
    found = _model(model, _PROVIDERS.get(provider or "", provider))
    if found is None:
        return None
    prices = found.get_prices(datetime.fromtimestamp(day * 86_400, UTC) if day else _NEWEST)
    starts = sorted({tier.start for price in vars(prices).values() for tier in getattr(price, "tiers", ())})
    try:
        return _Rates(tuple(starts), tuple(_row(prices, start + 1) for start in (0, *starts)))
    except (LookupError, ValueError, ArithmeticError, TypeError):
        return None


def _model(model: str, provider: str | None) -> Any:
    from genai_prices import data_snapshot  # 0.3 s to import: not before the first span that needs it

    snapshot = data_snapshot._bundled_snapshot()  # the list as shipped, whatever the process set
    names = dict.fromkeys((model.lower(), model.lower().rpartition("/")[2]))  # routers write openai/gpt-4o
    for name in names:
        for candidate in dict.fromkeys((provider, None, *_MAKERS)):
            try:
                return snapshot.find_provider_model(name, None, candidate, None)[1]
            except LookupError:
                continue
    return None


def _row(prices: Any, size: int) -> tuple[float, float, float, float]:
    """The rates for prompts of `size` tokens."""
    plain = _cost(prices, input_tokens=size)
    return (
        plain / size,
        _cost(prices, input_tokens=size, cache_read_tokens=size) / size,
        _cost(prices, input_tokens=size, cache_write_tokens=size) / size,
        (_cost(prices, input_tokens=size, output_tokens=_MILLION) - plain) / _MILLION,
    )


def _cost(prices: Any, **tokens: int) -> float:
    from genai_prices import Usage

    return float(prices.calc_price(Usage(**tokens))["total_price"])
