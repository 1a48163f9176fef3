"""report.html: one self-contained page with thumbnails, histograms and thresholds."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from skimage.color import lab2rgb

from data.check import Fault
from data.classes import class_names, palette
from data.cleaning.class_consistency import ClassStatistics
from data.cleaning.decisions import RULES, SIMILARITY, Decision, Table, Thresholds
from data.selections import stem_to_line

Thumbnails = Callable[[Sequence[int]], list[tuple[bytes, bytes]]]

# Pairs per measure: the worst ones, and those on each side of the threshold.
_WORST, _AROUND = 6, 9
_GROUPS, _MEMBERS = 30, 8
_FAULTS = 200
_BINS = 40
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1180px;padding:0 1em;
color:#1d2329;background:#fbfbf9}
h1{font-size:1.7em}h2{margin:2em 0 .3em;border-bottom:1px solid #cfd4d8;font-size:1.25em}
h3{font-size:1em;margin:1em 0 .3em;font-weight:600}
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right}
th{border-bottom:1px solid #aab}td:first-child,th:first-child{text-align:left}
td.text,th.text{text-align:left}
.row{display:flex;flex-wrap:wrap;gap:10px}
figure{margin:0;width:164px;border:2px solid #2f8f4e;border-radius:4px;background:#fff}
figure.out{border-color:#c3362b}figure img{display:block;width:100%}
figcaption{font-size:12px;padding:2px 5px;overflow-wrap:anywhere}
.swatch{display:inline-block;width:1.1em;height:1.1em;border:1px solid #889;
vertical-align:-2px;margin-right:.4em}
.out-text{color:#c3362b}.in-text{color:#2f8f4e}.note{color:#58626b}
nav{display:flex;flex-wrap:wrap;gap:.2em 1em}svg{background:#fff;border:1px solid #dde}
code{background:#eef0f0;padding:0 .25em}
"""


@dataclass(frozen=True)
class ReportFacts:
    """Inputs of the page in addition to the table.

    source, command: name of the dataset, command of the run. total: number of stems. documented:
    a description per measure.
    """

    source: str
    command: str
    classes: int
    faults: Sequence[Fault]
    total: int
    documented: dict[str, str]


def write_report(
    table: Table,
    thresholds: Thresholds,
    decisions: Sequence[Decision],
    statistics: Sequence[ClassStatistics],
    facts: ReportFacts,
    thumbnails: Thumbnails,
) -> str:
    """Return the HTML of the page; `thumbnails(rows)` returns the (JPEG, PNG) of table rows."""
    page = _Report(table, thresholds, decisions, facts)
    page.pick()
    wanted = sorted(page.shown)
    page.thumbnails = dict(zip(wanted, thumbnails(wanted), strict=True))
    body = [page.summary(), *(page.measure(rule.measure) for rule in RULES), page.groups()]
    body += [_classes(statistics, facts.classes), _faults(facts.faults)]
    title = f"Selections of {escape(facts.source)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>\n"
        + "\n".join(body)
        + "</body></html>\n"
    )


class _Report:
    """The sections of the page."""

    def __init__(
        self,
        table: Table,
        thresholds: Thresholds,
        decisions: Sequence[Decision],
        facts: ReportFacts,
    ) -> None:
        self.table, self.thresholds, self.decisions = table, thresholds, decisions
        self.facts = facts
        self.shown: set[int] = set()
        self.thumbnails: dict[int, tuple[bytes, bytes]] = {}
        self._rows: dict[str, tuple[list[int], list[int], list[int]]] = {}
        self._groups: list[list[int]] = []

    def pick(self) -> None:
        """Choose the pairs to show: each measure's worst and nearest, the largest groups."""
        for rule in RULES:
            values = self.table.values[rule.measure]
            sign = rule.sign
            one = self.thresholds.measures[rule.measure]
            known = np.flatnonzero(np.isfinite(values))
            order = known[np.argsort(-sign * values[known], kind="stable")]
            out = int((sign * (values[order] - one.value) > 0).sum())
            worst = order[: min(out, _WORST)].tolist()
            beyond = order[max(len(worst), out - _AROUND) : out].tolist()
            # Pairs on the better side of the median are never close to the threshold.
            worse = int((sign * (values[order] - one.median) > 0).sum())
            within = order[out : min(out + _AROUND, max(out, worse))].tolist()
            self._rows[rule.measure] = (worst, beyond, within)
            self.shown.update(worst, beyond, within)
        members: dict[int, list[int]] = {}
        for item, decision in enumerate(self.decisions):
            if decision.group:
                members.setdefault(decision.group, []).append(item)
        self._groups = sorted(members.values(), key=lambda group: (-len(group), group[0]))
        for group in self._groups[:_GROUPS]:
            group.sort(key=lambda item: (-self.decisions[item].selection, item))
            self.shown.update(group[:_MEMBERS])

    def summary(self) -> str:
        total = max(1, self.facts.total)
        readable = len(self.decisions)
        first = sum(one.selection >= 1 for one in self.decisions)
        second = sum(one.selection == 2 for one in self.decisions)
        rows = [("Total", readable), ("Selection I", first), ("Selection II", second)]
        lines = "".join(
            f"<tr><td>{name}</td><td>{number}</td><td>{100 * number / total:.1f}%</td></tr>"
            for name, number in rows
        )
        reasons: dict[tuple[str, str], int] = {}
        for one in self.decisions:
            if one.selection < 2:
                name = one.measure or one.reason
                place = "Selection I" if one.selection == 0 else "Selection II"
                reasons[place, name] = reasons.get((place, name), 0) + 1
        ordered = sorted(reasons.items(), key=lambda one: (one[0][0], -one[1]))
        out = "".join(
            f'<tr><td>{place}</td><td class="text">{_link(name)}</td><td>{number}</td></tr>'
            for (place, name), number in ordered
        )
        links = "".join(f'<a href="#{rule.measure}">{rule.measure}</a>' for rule in RULES)
        return (
            f'<p class="note"><code>{escape(self.facts.command)}</code></p>'
            f'<nav>{links}<a href="#groups">groups</a><a href="#classes">classes</a>'
            f'<a href="#faults">unreadable ({self.facts.total - readable})</a></nav>'
            f"<p>{self.facts.total} stems, {readable} readable pairs. To override a decision, add "
            "the stem (file name without suffix) on a line of <code>keep.txt</code> or "
            "<code>drop.txt</code> in this folder and run the command again.</p>"
            f"<table><tr><th>subset</th><th>pairs</th><th>share</th></tr>{lines}</table>"
            "<h3>Left out, by the measure of the highest severity</h3><table><tr><th>from"
            f'</th><th class="text">measure</th><th>pairs</th></tr>{out}</table>'
        )

    def measure(self, name: str) -> str:
        rule = next(rule for rule in RULES if rule.measure == name)
        one = self.thresholds.measures[name]
        worst, beyond, within = self._rows[name]
        side = "above" if rule.worse == "high" else "below"
        numeral = "I" if rule.selection == 1 else "II"
        parts = [
            f'<h2 id="{name}">{name}</h2><p>{escape(self.facts.documented[name])}</p>'
            f"<p>Left out of Selection {numeral} {side} <b>{_number(one.value)}</b> "
            f'<span class="note">({escape(one.origin)}; median {_number(one.median)})</span></p>',
            _histogram(self.table.values[name], one.value),
        ]
        for title, items in (
            ("Worst", worst),
            ("Just beyond the threshold", beyond),
            ("Just within the threshold", within),
        ):
            if items:
                values = self.table.values[name]
                figures = "".join(self.figure(item, _number(values[item])) for item in items)
                parts.append(f'<h3>{title}</h3><div class="row">{figures}</div>')
        return "".join(parts)

    def figure(self, item: int, caption: str) -> str:
        photo, layout = (base64.b64encode(content).decode() for content in self.thumbnails[item])
        decision = self.decisions[item]
        place = ("only in Total", "in I", "in II")[decision.selection]
        style = ' class="out"' if decision.selection < 2 else ""
        why = decision.measure or decision.reason
        text = escape(place + (f": {why}" if why else ""))
        stem = escape(stem_to_line(self.table.stems[item]))
        return (
            f'<figure{style}><img alt="" src="data:image/jpeg;base64,{photo}"><img alt="" '
            f'src="data:image/png;base64,{layout}"><figcaption>{stem}'
            f"<br><b>{caption}</b> {text}</figcaption></figure>"
        )

    def groups(self) -> str:
        kept = self.thresholds.kept
        parts = [
            f'<h2 id="groups">Near-duplicates: {len(self._groups)} groups</h2><p>A group links '
            f"layouts that agree in {_number(self.thresholds.similarity)} or more of their cells. "
            f"At most {kept} pairs per group are kept, and only one of similar photos "
            f"(correlation of {_number(self.thresholds.same_photo)} or more).</p>",
            _histogram(self.table.values[SIMILARITY], self.thresholds.similarity),
        ]
        for group in self._groups[:_GROUPS]:
            number = self.decisions[group[0]].group
            figures = "".join(
                self.figure(item, f"{self.table.values[SIMILARITY][item]:.3f}")
                for item in group[:_MEMBERS]
            )
            more = f", {len(group) - _MEMBERS} not shown" * (len(group) > _MEMBERS)
            parts.append(
                f'<h3>Group {number}: {len(group)} pairs{more}</h3><div class="row">{figures}</div>'
            )
        if len(self._groups) > _GROUPS:
            parts.append(f"<p>{len(self._groups) - _GROUPS} smaller groups are in report.csv.</p>")
        return "".join(parts)


def _histogram(values: NDArray[np.float64], threshold: float) -> str:
    """Render values and threshold as an SVG; heights are square roots, so small counts show."""
    known = values[np.isfinite(values)]
    if not len(known):
        return '<p class="note">No pair has this measure.</p>'
    low = min(float(known.min()), threshold)
    high = max(float(known.max()), threshold)
    if high - low < 1e-9:
        high = low + 1
    counts, _ = np.histogram(known, bins=_BINS, range=(low, high))
    width, height = 640, 110
    step = width / _BINS
    tallest = float(np.sqrt(counts.max()))
    bars = "".join(
        f'<rect x="{index * step:.1f}" y="{height - size:.1f}" width="{step - 1:.1f}" '
        f'height="{size:.1f}" fill="#6f8aa5"><title>{count}</title></rect>'
        for index, count in enumerate(counts.tolist())
        if (size := 90 * np.sqrt(count) / tallest) > 0
    )
    place = (threshold - low) / (high - low) * width
    return (
        f'<svg width="{width}" height="{height + 18}" role="img"><g>{bars}</g>'
        f'<line x1="{place:.1f}" x2="{place:.1f}" y1="0" y2="{height}" stroke="#c3362b" '
        f'stroke-width="2"/>'
        f'<text x="2" y="{height + 14}" font-size="12">{_number(low)}</text><text x="{width - 2}" '
        f'y="{height + 14}" font-size="12" text-anchor="end">{_number(high)}</text></svg>'
    )


def _classes(statistics: Sequence[ClassStatistics], classes: int) -> str:
    names, colors = class_names(classes), palette(classes)
    rows = []
    for one in statistics:
        look = np.rint(255 * lab2rgb(np.array(one.lab)[None, None]))[0, 0].astype(int)
        confused = escape(names[one.confused_with]) if one.confused_with is not None else ""
        rows.append(
            f"<tr><td>{_swatch(colors[one.class_id])}{one.class_id} "
            f"{escape(names[one.class_id])}</td><td>{100 * one.area:.2f}%</td>"
            f"<td>{one.images}</td><td>{one.segments}</td>"
            f'<td class="text">{_swatch(look)}{one.lab[0]:.0f} {one.lab[1]:.0f} {one.lab[2]:.0f} '
            f"± {one.spread[0]:.0f} {one.spread[1]:.0f} {one.spread[2]:.0f}</td>"
            f"<td>{one.texture:.1f}</td><td>{100 * one.agreement:.0f}%</td>"
            f'<td class="text">{confused}</td></tr>'
        )
    return (
        '<h2 id="classes">Classes</h2><p>Statistics of segments of at least 0.3% of their image. '
        "Agreement: share of segments whose class is predicted by a random forest trained on other "
        "pairs.</p><table><tr><th>class</th><th>area</th><th>images</th><th>segments</th>"
        '<th class="text">L* a* b*</th><th>texture</th><th>agreement</th><th class="text">'
        f"most often confused with</th></tr>{''.join(rows)}</table>"
    )


def _faults(faults: Sequence[Fault]) -> str:
    items = "".join(f"<li>{escape(_printable(str(fault)))}</li>" for fault in faults[:_FAULTS])
    more = f"<p>{len(faults) - _FAULTS} more are in report.csv.</p>" * (len(faults) > _FAULTS)
    return f'<h2 id="faults">Unreadable</h2><ul>{items or "<li>none</li>"}</ul>{more}'


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _swatch(color: Sequence[int] | NDArray) -> str:
    red, green, blue = (int(part) for part in color)
    return f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'


def _link(name: str) -> str:
    if name == SIMILARITY:
        return f'<a href="#groups">{SIMILARITY}</a>'
    known = any(rule.measure == name for rule in RULES)
    return f'<a href="#{name}">{name}</a>' if known else escape(name)


def _number(value: float) -> str:
    return f"{value:.4g}"
