"""The page of an evaluation: one self-contained HTML file, without scripts.

write_page(evaluation, worst, best)     # examples as inference.evaluation renders them
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from data.classes import class_names, palette
from metrics.evaluation import (
    ClassRow,
    Evaluation,
    MaskResults,
    class_rows,
    describe,
    percent,
)
from metrics.report_style import STYLE
from metrics.segmentation import Confusion, SegmentationCounts, mean_iou
from metrics.table import Row
from options.paths import show_path

MOST_CLASSES = 40  # of the confusion matrix: more are not readable
ON_PHOTOS = " on photos"
_STRONG = 0.65  # opacity from which a cell needs light text


@dataclass(frozen=True)
class Panel:
    """An encoded image of an example: caption, MIME type, bytes, size in pixels."""

    caption: str
    kind: str
    content: bytes
    height: int
    width: int


@dataclass(frozen=True)
class Example:
    """The panels of an image: its place in the list of images, and its most common classes."""

    index: int
    panels: Sequence[Panel]
    classes: Sequence[int]


def write_page(
    evaluation: Evaluation, worst: Sequence[Example] = (), best: Sequence[Example] = ()
) -> str:
    """Return the HTML; without masks there are no examples."""
    masks = evaluation.masks
    sections = [("measures", "Measures", _measures(evaluation))]
    facts = [f"images: <code>{_text(evaluation.images)}</code>"]
    if masks is None:
        sections.append(("masks", "Masks", _no_masks()))
    else:
        facts.append(f"segmenter: <code>{_text(masks.segmenter)}</code>")
        sections += [
            ("classes", "Classes", _classes(masks)),
            ("confusion", "Confusion matrix", _confusions(masks)),
            ("worst", "Worst images", _examples(worst, masks, "fewest")),
            ("best", "Best images", _examples(best, masks, "most")),
        ]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}" aria-label="{title}"><h2>{title}</h2>{content}</section>\n'
        for name, title, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">"
        f"<title>Evaluation of {_text(evaluation.images)}</title><style>{STYLE}</style></head>\n"
        f'<body><header><h1>Evaluation</h1><p class="note">{"<br>".join(facts)}</p></header>\n'
        f'<nav aria-label="Sections">{links}</nav>\n<main>\n{body}</main></body></html>\n'
    )


def _measures(evaluation: Evaluation) -> str:
    """The gauges of the masks, and the rows; measures on photos stand next to their own."""
    ceilings = {row.name: row for row in evaluation.rows if row.name.endswith(ON_PHOTOS)}
    lines = [
        _measure(row, ceilings.get(row.name + ON_PHOTOS))
        for row in evaluation.rows
        if row.name not in ceilings
    ]
    head = "".join(
        f'<th scope="col"{style}>{name}</th>'
        for name, style in (
            ("measure", ""), ("value", ""), ("ceiling on photos", ""), ("images", ""),
            ("photos", ""), ("note", ' class="text"'),
        )
    )  # fmt: skip
    gauges = "" if evaluation.masks is None else _gauges(evaluation.masks)
    return gauges + _table("Measures", f"<tr>{head}</tr>", "".join(lines))


def _measure(row: Row, ceiling: Row | None) -> str:
    value = '<span class="note">not measured</span>'
    if row.value is not None:
        value = f"<b>{row.value:.4f}</b>"
    top, photos, notes = "", row.photos, [row.note]
    if ceiling is not None:
        top = "" if ceiling.value is None else f"{ceiling.value:.4f}"
        photos = ceiling.photos
        notes.append(f"ceiling: {ceiling.note}" if ceiling.note else "")
    counts = "".join(f"<td>{_count(number)}</td>" for number in (row.images, photos))
    note = _text("; ".join(filter(None, notes)))
    return (
        f'<tr><th scope="row">{_text(row.name)}</th><td>{value}</td><td>{top}</td>{counts}'
        f'<td class="text note">{note}</td></tr>'
    )


def _gauges(masks: MaskResults) -> str:
    counts = masks.images.counts
    real = masks.photo_counts
    ceilings = (None, None) if real is None else (real.mask_accuracy, mean_iou(real.matrix))
    commonest, floor = counts.floor
    why = f"all {masks.class_names[commonest]}"
    gauges = [
        _gauge("mask accuracy", counts.mask_accuracy, ceilings[0], floor, why),
        _gauge("mIoU", mean_iou(counts.matrix), ceilings[1]),
    ]
    return f'<div class="gauges">{"".join(gauges)}</div>'


def _gauge(
    name: str, value: float, ceiling: float | None, floor: float | None = None, why: str = ""
) -> str:
    """A number from 0 to 1 on a scale, with marks for its ceiling and its floor."""
    marks, words = [], []
    if ceiling is not None:
        marks.append(f'<i class="ceiling" style="left:{_tenth(ceiling)}"></i>')
        words.append(f'<span class="key ceiling"></span>ceiling on photos {ceiling:.4f}')
    if floor is not None:
        marks.append(f'<i class="floor" style="left:{_tenth(floor)}"></i>')
        words.append(f'<span class="key floor"></span>floor {floor:.4f} ({_text(why)})')
    return (
        f'<div class="gauge"><p class="name">{name}</p><p class="value">{value:.4f}</p>'
        f'<div class="track" aria-hidden="true"><span style="width:{_tenth(value)}"></span>'
        f'{"".join(marks)}</div><p class="note">{"<br>".join(words)}</p></div>'
    )


def _no_masks() -> str:
    return (
        "<p>Classes, confusion matrix, worst and best images need a segmenter: "
        "<code>--segmenter FILE</code>.</p>"
    )


def _classes(masks: MaskResults) -> str:
    """The classes that occur, the largest one first."""
    made = class_rows(masks.images.counts.matrix)
    counts = masks.photo_counts
    real = [None] * len(made) if counts is None else class_rows(counts.matrix)
    total = max(1, sum(row.pixels for row in made))
    shown = [index for index, row in enumerate(made) if row.pixels or row.predicted_pixels]
    shown.sort(key=lambda index: -made[index].pixels)
    colors = palette(len(made))
    lines = [_class(made[i], real[i], made[i].pixels / total, _swatch(colors[i])) for i in shown]
    head = "".join(
        f'<th scope="col"{style}>{name}</th>'
        for name, style in (
            ("class", ""), ("share", ""), ("accuracy", ' class="text"'), ("on photos", ""),
            ("IoU", ' class="text"'), ("on photos", ""), ("pixels", ""),
        )
    )  # fmt: skip
    return (
        "<p>Accuracy: share of the pixels of a class in the layouts that the segmenter predicts "
        "as this class. IoU: intersection over union. The mark on a bar is the same number on "
        "photos, the segmenter's own ceiling. Pixels are those of the layouts.</p>"
        + _table("Classes", f"<tr>{head}</tr>", "".join(lines))
    )


def _class(made: ClassRow, real: ClassRow | None, share: float, swatch: str) -> str:
    cells = []
    for name in ("accuracy", "iou"):
        value: float | None = getattr(made, name)
        ceiling: float | None = None if real is None else getattr(real, name)
        top = "" if ceiling is None else _tenth(ceiling)
        cells.append(f'<td class="text">{_bar(value, ceiling)}</td><td class="note">{top}</td>')
    return (
        f'<tr><th scope="row">{swatch}{_text(made.name)}</th><td>{_tenth(share)}</td>'
        f"{''.join(cells)}<td>{made.pixels:,}</td></tr>"
    )


def _bar(value: float | None, ceiling: float | None) -> str:
    mark = "" if ceiling is None else f'<i class="ceiling" style="left:{_tenth(ceiling)}"></i>'
    fill = "" if value is None else f'<span style="width:{_tenth(value)}"></span>'
    words = '<span class="note">none</span>' if value is None else _tenth(value)
    return (
        f'<div class="bar"><div class="track" aria-hidden="true">{fill}{mark}</div>'
        f"<span>{words}</span></div>"
    )


def _confusions(masks: MaskResults) -> str:
    parts = [
        "<p>Each row is a true class and sums to 100%; each column is a predicted class. The "
        "diagonal is right. A dot is less than 0.5%.</p>",
        _confusion(masks.images.counts, "Images"),
    ]
    if masks.photo_counts is not None:
        parts.append(
            "<details><summary>The same on photos: confusions of the segmenter itself</summary>"
            f"{_confusion(masks.photo_counts, 'Photos')}</details>"
        )
    return "".join(parts)


def _confusion(counts: SegmentationCounts, title: str) -> str:
    """The classes that occur on one side or both, the commonest ones if there are many."""
    matrix = counts.matrix
    sizes = matrix.sum(axis=0) + matrix.sum(axis=1)
    common = np.argsort(-sizes, kind="stable")[:MOST_CLASSES]
    shown = sorted(int(index) for index in common if sizes[index])
    names, colors = class_names(len(matrix)), palette(len(matrix))
    head = "".join(
        f'<th scope="col"><span>{_swatch(colors[one])}{_text(names[one])}</span></th>'
        for one in shown
    )
    lines = [
        f'<tr><th scope="row">{_swatch(colors[true])}{_text(names[true])}</th>'
        + "".join(_cell(matrix, true, predicted, names) for predicted in shown)
        + "</tr>"
        for true in shown
    ]
    left = int((sizes > 0).sum()) - len(shown)
    more = f'<p class="note">{left} less common classes are only in the JSON file.</p>'
    corner = '<th class="corner">true \\ predicted</th>'
    table = _table(title, f"<tr>{corner}{head}</tr>", "".join(lines), "scroll matrix")
    return table + more * bool(left)


def _cell(matrix: NDArray[np.int64], true: int, predicted: int, names: Sequence[str]) -> str:
    """A cell; its opacity is the square root of its share, so that small ones show."""
    pixels, total = int(matrix[true, predicted]), int(matrix[true].sum())
    if not pixels:
        return "<td></td>"
    share = pixels / total
    opacity = share**0.5
    kind = "hit" if true == predicted else "miss"
    words = "right" if true == predicted else f"predicted as {names[predicted]}"
    strong = " strong" * (opacity >= _STRONG)
    shown = f"{100 * share:.0f}" if share >= 0.005 else "·"
    return (
        f'<td class="{kind}{strong}" style="--o:{opacity:.2f}" '
        f'title="{_text(names[true])} {_text(words)}: {percent(share)}, {pixels:,} px">'
        f"{shown}</td>"
    )


def _examples(examples: Sequence[Example], masks: MaskResults, extreme: str) -> str:
    names, colors = masks.class_names, palette(len(masks.class_names))
    cards = []
    for rank, example in enumerate(examples, 1):
        image = masks.images.images[example.index]
        name = _text(masks.files[example.index])
        panels = "".join(_panel(panel, name) for panel in example.panels)
        legend = "".join(
            f"<span>{_swatch(colors[one])}{_text(names[one])}</span>" for one in example.classes
        )
        cards.append(
            f'<article class="card"><h3><span class="rank">{rank}</span> {name}</h3>'
            f'<p class="reason"><b>{percent(image.share)} equal pixels</b> '
            f"<span>{_pair(image.confusion, colors)}{_text(describe(image, names))}</span></p>"
            f'<div class="panels">{panels}</div><p class="legend">{legend}</p></article>\n'
        )
    return (
        f"<p>The images with the {extreme} equal pixels of layout and predicted layout, and their "
        f"largest confusion.</p>{''.join(cards)}"
    )


def _panel(panel: Panel, name: str) -> str:
    content = base64.b64encode(panel.content).decode()
    return (
        f'<figure><img alt="{_text(panel.caption)} of {name}" width="{panel.width}" '
        f'height="{panel.height}" src="data:{panel.kind};base64,{content}">'
        f"<figcaption>{_text(panel.caption)}</figcaption></figure>"
    )


def _pair(confusion: Confusion | None, colors: NDArray[np.uint8]) -> str:
    if confusion is None:
        return ""
    return _swatch(colors[confusion.true]) + _swatch(colors[confusion.predicted])


def _table(caption: str, head: str, body: str, style: str = "scroll") -> str:
    """A table that scrolls by itself on a narrow screen, also by keyboard."""
    return (
        f'<div class="{style}" tabindex="0" role="region" aria-label="{caption}">'
        f"<table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _swatch(color: NDArray[np.uint8]) -> str:
    red, green, blue = color.tolist()
    return f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _tenth(share: float) -> str:
    return f"{100 * share:.1f}%"


def _text(text: str) -> str:
    """Escape a text for HTML; show_path escapes what is not printable in a name."""
    return escape(show_path(text))
