"""Charts as SVG, drawn when a page is written: bars of a report's totals, and a rate over windows with its intervals.

pygal lays them out; its own styles, scripts and tooltips are taken out, so that a page's stylesheet colours them, in
dark and on paper, and no part of them is inline code. A title on each bar, and a label on the whole, say the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from halo_worker.display import cut, one_line
from halo_worker.report import formats
from halo_worker.report.model import Report

WIDTH, HEIGHT = 340, 200
WIDE = 680  # of a chart over the whole page
MAX_CHARTED = 10  # agents, models; the tables have more
LABEL_CHARACTERS = 18  # of a name at an axis
AXIS_CHARACTERS = 36  # of the labels on a time axis together
SPOKEN = 12  # values that the label of a chart says
_DROPPED = ("comment", "defs", "desc", "script", "style")
_DROPPED_CLASSES = ("background", "legends", "plot text-overlay", "plot tooltip-overlay")
_CLASSES = frozenset(("axis", "guide", "line", "major", "x", "y", "dots", "ci", "always_show"))
_KEPT = frozenset(("viewBox", "x", "y", "width", "height", "d", "transform", "cx", "cy", "r", "rx"))


@dataclass(frozen=True, slots=True)
class Series:
    """One value of each row, of one colour: `tint` is a class of the stylesheet."""

    name: str
    tint: str
    value: Callable[[Mapping[str, Any]], float]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart on a page; `series` are names and tints for its legend."""

    id: str
    title: str
    series: list[tuple[str, str]]
    svg: Markup


def _of(field: str, scale: float = 1) -> Callable[[Mapping[str, Any]], float]:
    return lambda row: (row.get(field) or 0) / scale


def _without(whole: str, part: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda row: max(0, (row.get(whole) or 0) - (row.get(part) or 0))


_TOKENS = (Series("input", "bar", _of("input_tokens")), Series("output", "accent", _of("output_tokens")))
_LATENCY = (Series("p50", "bar", _of("duration_p50_ns", 1e9)), Series("p95", "accent", _of("duration_p95_ns", 1e9)))
_COST = (Series("cost", "accent", _of("cost_usd")),)
_AFFECTED = (Series("affected", "high", _of("affected_traces")),
             Series("others", "bar", _without("traces", "affected_traces")))  # fmt: skip
_ERRORS = (Series("with errors", "critical", _of("error_traces")),
           Series("without", "bar", _without("traces", "error_traces")))  # fmt: skip


def _seconds(value: float) -> str:
    return formats.duration(value * 1e9) if value else "0"


def _dollars(value: float) -> str:
    return f"${value:,.4g}"


# id, title, which rows, series, how values are written, whether they stand on one another
_CHARTS = (
    ("traffic", "Traces over time", "timeline", _AFFECTED, formats.short, True),
    ("tokens", "Tokens over time", "timeline", _TOKENS, formats.short, True),
    ("spend", "Cost over time", "timeline", _COST, _dollars, True),
    ("errors", "Errors by agent", "by_agent", _ERRORS, formats.short, True),
    ("latency", "Latency by agent", "by_agent", _LATENCY, _seconds, False),
    ("agent-cost", "Cost by agent", "by_agent", _COST, _dollars, False),
    ("model-tokens", "Tokens by model", "by_model", _TOKENS, formats.short, True),
    ("model-latency", "Latency by model", "by_model", _LATENCY, _seconds, False),
    ("cost", "Cost by model", "by_model", _COST, _dollars, False),
)  # fmt: skip


def of_report(report: Report) -> list[Drawn]:
    """Draw the charts of a report's totals; one of nothing but zeros is left out."""
    totals = report.totals
    rows: dict[str, list[Mapping[str, Any]]] = {
        "timeline": list(totals.timeline),
        "by_agent": [group.model_dump() for group in totals.by_agent[:MAX_CHARTED]],
        "by_model": [group.model_dump() for group in totals.by_model[:MAX_CHARTED]],
    }
    labels = {name: _moments(of) if name == "timeline" else _names(of) for name, of in rows.items()}
    drawn = []
    for key, title, source, series, write, stacked in _CHARTS:
        values = {one.name: [one.value(row) for row in rows[source]] for one in series}
        if any(chain.from_iterable(values.values())):
            svg = bars(
                title, labels[source], values, tints=[one.tint for one in series], write=write, stacked=stacked,
                lying=source != "timeline",
            )  # fmt: skip
            drawn.append(Drawn(key, title, [(one.name, one.tint) for one in series], svg))
    return drawn


def _moments(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    starts = [str(row.get("start", "")) for row in rows]
    days = len({start[:10] for start in starts}) > 1
    return [start[5:16].replace("T", " ") if days else start[11:16] for start in starts]


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [one_line(str(row["name"]), LABEL_CHARACTERS) for row in rows]


def bars(
    title: str,
    labels: Sequence[str],
    values: Mapping[str, Sequence[float]],
    *,
    tints: Sequence[str],
    write: Callable[[float], str],
    stacked: bool,
    lying: bool,
) -> Markup:
    """Draw bars, standing along time or lying beside names."""
    import pygal  # a third of a second, which only a report needs

    kinds = {(True, True): pygal.HorizontalStackedBar, (True, False): pygal.StackedBar,
             (False, True): pygal.HorizontalBar, (False, False): pygal.Bar}  # fmt: skip
    names = list(labels)[::-1] if lying else list(labels)
    chart = kinds[stacked, lying](**_options(write, WIDTH, 46 + 22 * len(names) if lying else HEIGHT))
    chart.x_labels = names
    if not lying:
        _thin_out(chart, names, AXIS_CHARACTERS)
    for name, numbers in values.items():
        chart.add(name, list(numbers)[::-1] if lying else list(numbers))
    said = [
        f"{label} {', '.join(f'{name} {write(numbers[place])}' for name, numbers in values.items())}"
        for place, label in enumerate(labels[:SPOKEN])
    ]
    return _plain(chart, tints, f"{title}: {'; '.join(said)}")


def rates(title: str, labels: Sequence[str], points: Sequence[tuple[float, float, float]]) -> Markup:
    """Draw a rate over windows, each `(rate, low, high)` of 0 to 1 with its interval."""
    import pygal

    chart = pygal.Line(**_options(formats.percent, WIDE, HEIGHT), stroke=False)
    chart.x_labels = list(labels)
    _thin_out(chart, list(labels), AXIS_CHARACTERS * WIDE // WIDTH)
    chart.range = (0, max([high for _, _, high in points] + [0.01]))
    chart.add("rate", [{"value": rate, "ci": {"low": low, "high": high}} for rate, low, high in points])
    said = "; ".join(f"{label} {formats.percent(rate)}" for label, (rate, _, _) in zip(labels, points, strict=True))
    return _plain(chart, ["accent"], f"{title}: {cut(said, 600)}")


def _thin_out(chart: Any, labels: list[str], characters: int) -> None:
    """Show as many labels of a time axis as have room, evenly."""
    fit = max(1, characters // max((len(label) + 1 for label in labels), default=1))
    if len(labels) > fit:
        step = -(-len(labels) // fit)
        chart.x_labels_major = labels[step // 2 :: step]
        chart.show_minor_x_labels = False


def _options(write: Callable[[float], str], width: int, height: int) -> dict[str, Any]:
    return {
        "width": width, "height": height, "js": [], "css": [], "no_prefix": True, "show_legend": False, "margin": 4,
        "spacing": 6, "max_scale": 5, "min_scale": 2, "value_formatter": lambda value: write(value or 0),
        "truncate_label": -1, "rounded_bars": 2,
    }  # fmt: skip


def _plain(chart: Any, tints: Sequence[str], label: str) -> Markup:
    """Return a chart without what pygal puts around it, coloured by classes and labelled."""
    root = chart.render_tree()
    _say_values(root)
    _prune(root)
    for element in root.iter():
        words = element.get("class", "").split()
        kept = [word for word in words if word in _CLASSES]
        kept += [f"series {tint}" for number, tint in enumerate(tints) if f"color-{number}" in words]
        element.attrib = {name: _rounded(value) for name, value in element.attrib.items() if name in _KEPT} | (
            {"class": " ".join(kept)} if kept else {}
        )
    root.attrib |= {"class": "chart", "role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - escaped by ElementTree


def _say_values(root: Any) -> None:
    """Give each bar and dot a title: its label and value, which pygal keeps for its script."""
    for group in root.iter():
        told = {one.get("class", "").split(" ")[0]: one.text or "" for one in group if _tag(one) == "desc"}
        if "value" in told:
            title = ElementTree.SubElement(group, "title")
            title.text = f"{told['x_label']}: {told['value']}" if told.get("x_label") else told["value"]


def _prune(parent: Any) -> None:
    """Take out what is not drawn: styles, scripts, backgrounds, empty groups, bars of no size."""
    labels = "guides" in parent.get("class", "") or _tag(parent) == "svg"
    for child in list(parent):
        tag, kind = _tag(child), child.get("class", "") if isinstance(child.tag, str) else ""
        if tag in _DROPPED or kind in _DROPPED_CLASSES or (labels and tag == "title"):
            parent.remove(child)
            continue
        _prune(child)
        drawn = [one for one in child if _tag(one) != "title"]
        nothing = tag == "rect" and "0" in (_rounded(child.get("width", "0")), _rounded(child.get("height", "0")))
        if nothing or (tag == "g" and not drawn):
            parent.remove(child)


def _tag(element: Any) -> str:
    return element.tag if isinstance(element.tag, str) else "comment"


def _rounded(text: str) -> str:
    out, number = [], ""
    for character in f"{text} ":
        if character.isdigit() or character == ".":
            number += character
            continue
        if number:
            out.append(f"{float(number):.1f}".removesuffix(".0") if "." in number else number)
            number = ""
        out.append(character)
    return "".join(out)[:-1]
