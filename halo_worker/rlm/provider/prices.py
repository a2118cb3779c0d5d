"""What a call costs: configured prices first, else the list shipped in genai-prices. Makes no request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from halo_worker.rlm.messages import Usage

_MILLION = 1_000_000
_MAKERS = (None, "openai", "anthropic", "google", "mistral", "cohere", "deepseek", "x-ai", "meta")


@dataclass(slots=True)
class Prices:
    """Dollars for one model. When only one of the prices is configured, it is the price of both."""

    model: str
    input_usd_per_million: float | None = None
    output_usd_per_million: float | None = None
    _rates: tuple[float, float, float] | None = field(default=None, init=False)
    _looked: bool = field(default=False, init=False)

    def cost(self, usage: Usage) -> float | None:
        """Return dollars at list price, None where no price is known."""
        if not self._looked:
            self._rates, self._looked = self._find(), True
        if self._rates is None:
            return None
        plain, cached, output = self._rates
        read = min(usage.cached_tokens, usage.input_tokens)
        return (usage.input_tokens - read) * plain + read * cached + usage.output_tokens * output

    def _find(self) -> tuple[float, float, float] | None:
        given, said = self.input_usd_per_million, self.output_usd_per_million
        if given is not None or said is not None:
            plain = (given if given is not None else said or 0.0) / _MILLION
            return plain, plain, (said if said is not None else given or 0.0) / _MILLION
        try:
            return _listed(self.model)
        except Exception:  # noqa: BLE001  a price list of another shape is no price
            return None


def _listed(model: str) -> tuple[float, float, float] | None:
    from genai_prices import Usage as Tokens
    from genai_prices import data_snapshot  # 0.3 s to import: not before it is needed

    snapshot = data_snapshot._bundled_snapshot()  # the list as shipped, whatever the process has set
    name = model.lower().rpartition("/")[2]
    for maker in _MAKERS:
        try:
            found = snapshot.find_provider_model(name, None, maker, None)[1]
        except LookupError:
            continue
        prices: Any = found.get_prices(_newest())

        def dollars(**tokens: int) -> float:
            return float(prices.calc_price(Tokens(**tokens))["total_price"])  # noqa: B023

        size = 10_000  # below every threshold from which long prompts cost more
        plain = dollars(input_tokens=size) / size
        cached = dollars(input_tokens=size, cache_read_tokens=size) / size
        output = (dollars(input_tokens=size, output_tokens=size) - dollars(input_tokens=size)) / size
        return plain, cached, output
    return None


def _newest() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
