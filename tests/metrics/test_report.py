"""The page of an evaluation: well formed, self-contained, escaped, and its numbers."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from metrics import report
from metrics.evaluation import Evaluation, MaskResults
from metrics.predictions import Agreement
from metrics.report import Example, Panel, write_page
from metrics.report_style import STYLE
from metrics.segmentation import SegmentationCounts
from metrics.table import Row, mask_rows, photo_mask_rows

VOID = {"meta", "img", "br"}
SEA, RIVER, SKY = 3, 8, 1


class Page(HTMLParser):
    """Checks that each tag is closed; collects attributes, and the text of each cell."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.cells: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data

    def values(self, attribute: str) -> list[str]:
        return [given[attribute] for _, given in self.tags if attribute in given]

    def row(self, name: str) -> list[str]:
        """The cells after the one with this text."""
        start = self.cells.index(name)
        return self.cells[start : start + 7]


def agreement(*matrices: np.ndarray) -> Agreement:
    """An image per matrix of pixel counts."""
    counts = SegmentationCounts(len(matrices[0]))
    images = []
    for matrix in matrices:
        true, found = np.nonzero(matrix)
        times = matrix[true, found]
        images.append(counts.add(np.repeat(true, times)[None], np.repeat(found, times)[None]))
    return Agreement(counts, images)


def matrix(*entries: tuple[int, int, int], classes: int = 29) -> np.ndarray:
    found = np.zeros((classes, classes), np.int64)
    for true, predicted, pixels in entries:
        found[true, predicted] = pixels
    return found


def example(index: int, content: bytes = b"content") -> Example:
    panels = [Panel("image", "image/jpeg", content, 192, 256)]
    return Example(index, [*panels, Panel("layout", "image/png", content, 192, 256)], [SEA, SKY])


def results(photos: bool = True) -> MaskResults:
    """Three images; 31 of 100 pixels of the first one are sea predicted as river."""
    made = agreement(
        matrix((SEA, SEA, 29), (SEA, RIVER, 31), (SKY, SKY, 40)),
        matrix((SKY, SKY, 100)),
        matrix((SKY, SKY, 99), (SEA, SKY, 1)),
    )
    real = agreement(matrix((SEA, SEA, 3), (SEA, RIVER, 1), (SKY, SKY, 6))) if photos else None
    files = ["<i>\"&'.png", "湖 & é.png", "c\udcff\n.png"]
    return MaskResults("seg <b>.safetensors", files, made, real, "1 of 9 photos, at even distances")


def evaluation(masks: MaskResults) -> Evaluation:
    rows = [Row("FID", 41.25, 3, 9), Row("aesthetic", None, note="needs <a> model")]
    rows += mask_rows(masks.images.counts) + photo_mask_rows(masks.photo_counts, masks.note)
    return Evaluation("results/<run>/submission", rows, masks)


def test_the_page_is_well_formed_and_self_contained() -> None:
    page = write_page(evaluation(results()), [example(0), example(2)], [example(1)])
    parsed = Page(page)
    assert all(one.startswith("data:image/") for one in parsed.values("src"))
    assert parsed.values("src")[0] == "data:image/jpeg;base64,Y29udGVudA=="
    anchors = ["measures", "classes", "confusion", "worst", "best"]
    assert parsed.values("id") == anchors
    assert parsed.values("href") == [f"#{anchor}" for anchor in anchors]
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert not re.search(r"https?:|url\(|@import|//", page.replace(STYLE, ""))
    assert not re.search(r"https?:|url\(|@import|//", STYLE)
    assert STYLE.count("{") == STYLE.count("}")
    assert "prefers-color-scheme:dark" in page and 'name="viewport"' in page
    # tables that scroll can be scrolled by keyboard
    scrolled = [given for _, given in parsed.tags if "scroll" in given.get("class", "")]
    assert len(scrolled) == 4 and all(given["tabindex"] == "0" for given in scrolled)
    assert parsed.values("alt")[0] == "image of <i>\"&'.png"


def test_names_are_escaped() -> None:
    page = write_page(evaluation(results()), [example(0), example(2)], [example(1)])
    for raw in ("<i>", "<b>.", "<run>", "<a> model", "\udcff"):
        assert raw not in page
    for escaped in (
        "&lt;i&gt;&quot;&amp;&#x27;.png", "湖 &amp; é.png", r"c\udcff\n.png", "&lt;run&gt;",
        "seg &lt;b&gt;.safetensors", "needs &lt;a&gt; model",
    ):  # fmt: skip
        assert escaped in page
    page.encode("utf-8")


def test_the_ceiling_stands_next_to_the_measure() -> None:
    page = Page(write_page(evaluation(results())))
    accuracy = (0.69 + 1 + 0.99) / 3
    note = "ceiling: 1 of 9 photos, at even distances"
    assert page.row("mask accuracy")[1:6] == [f"{accuracy:.4f}", "0.9000", "3", "1", note]
    assert page.row("FID")[1:6] == ["41.2500", "", "3", "9", ""]
    assert page.row("aesthetic")[1:3] == ["not measured", ""]
    assert page.row("mask accuracy, floor")[1:6] == [f"{(0.4 + 1 + 0.99) / 3:.4f}", "", "3", "",
                                                     "all sky"]  # fmt: skip
    assert "mask accuracy on photos" not in page.cells


def test_without_photos_there_is_no_ceiling() -> None:
    text = write_page(evaluation(results(photos=False)))
    page = Page(text)
    assert page.row("mask accuracy")[2:5] == ["", "3", ""]
    assert page.row("sky")[2:6] == ["100.0%", "", "99.6%", ""]
    assert 'ceiling"></span>' not in text and "<details" not in text


def test_the_classes_that_occur() -> None:
    page = Page(write_page(evaluation(results())))
    start = page.cells.index("class")
    rows = [page.cells[start + 7 * n : start + 7 * (n + 1)] for n in range(1, 4)]
    sky, sea, river = rows
    assert sky == ["sky", "79.7%", "100.0%", "100.0%", "99.6%", "100.0%", "239"]
    assert sea == ["sea", "20.3%", "47.5%", "75.0%", "47.5%", "75.0%", "61"]
    assert river == ["river", "0.0%", "none", "", "0.0%", "0.0%", "0"]
    assert "mountain" not in page.cells


def cells_of(page: str) -> dict[str, str]:
    """Title -> shown text of the cells of the first confusion matrix."""
    part = page.split('<section id="confusion"')[1].split("<details")[0]
    return dict(re.findall(r'<td class="[^>]*title="([^"]*)">([^<]*)</td>', part))


def test_the_rows_of_the_matrix_are_true_classes() -> None:
    page = write_page(evaluation(results()))
    assert cells_of(page) == {
        "sky right: 100%, 239 px": "100",
        "sea right: 47.5%, 29 px": "48",
        "sea predicted as river: 50.8%, 31 px": "51",
        "sea predicted as sky: 1.6%, 1 px": "2",
    }
    head = page.split('<section id="confusion"')[1].split("</thead>")[0]
    assert re.findall(r"</span>([a-z]+)</span></th>", head) == ["sky", "sea", "river"]
    photos = page.split("<details")[1]
    assert 'title="sea predicted as river: 25%, 1 px">25</td>' in photos
    assert 'class="hit strong" style="--o:1.00" title="sky right' in page
    assert 'class="hit strong" style="--o:0.69" title="sea right' in page
    assert 'class="miss" style="--o:0.13" title="sea predicted as sky' in page


def test_small_cells_are_dots() -> None:
    made = agreement(matrix((SEA, SEA, 996), (SEA, SKY, 4)))
    page = write_page(evaluation(MaskResults("s", ["a"], made, None, "")))
    assert cells_of(page)["sea predicted as sky: 0.4%, 4 px"] == "·"


def test_of_many_classes_the_commonest_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    made = agreement(matrix(*((n, n, 10 + n) for n in range(6)), classes=50))
    monkeypatch.setattr(report, "MOST_CLASSES", 4)
    page = write_page(evaluation(MaskResults("s", ["a"], made, None, "")))
    assert [title.split(" right")[0] for title in cells_of(page)] == [
        "class 2", "class 3", "class 4", "class 5"
    ]  # fmt: skip
    # the classes are in the order of their pixels, all of them
    table = page.split('<section id="classes"')[1].split("</section>")[0]
    assert re.findall(r"class (\d)</th>", table) == ["5", "4", "3", "2", "1", "0"]
    assert "2 less common classes are only in the JSON file" in page


def test_the_examples_have_their_reasons_in_order() -> None:
    page = write_page(evaluation(results()), [example(0), example(2)], [example(1)])
    worst, best = page.split('<section id="worst"')[1].split('<section id="best"')
    assert re.findall(r'rank">(\d)</span> ([^<]*)</h3>', worst) == [
        ("1", "&lt;i&gt;&quot;&amp;&#x27;.png"), ("2", r"c\udcff\n.png")
    ]  # fmt: skip
    assert "<b>69% equal pixels</b>" in worst
    assert "</span>sea predicted as river: 31% of the image</span>" in worst
    assert "</span>sea predicted as sky: 1% of the image</span>" in worst
    assert "<b>100% equal pixels</b> <span>every pixel agrees</span>" in best
    assert "湖 &amp; é.png" in best
    legend = worst.split('class="legend">')[1].split("</p>")[0]
    assert re.findall(r"</span>([a-z]+)</span>", legend) == ["sea", "sky"]


def test_without_a_segmenter_the_page_tells_how_to_measure_masks() -> None:
    rows = [Row("FID", 41.25, 3, 9), *mask_rows(None, "needs a segmenter: --segmenter FILE")]
    text = write_page(Evaluation("folder", rows))
    page = Page(text)
    assert page.values("href") == ["#measures", "#masks"]
    assert page.row("mask accuracy")[1:3] == ["not measured", ""]
    assert "<code>--segmenter FILE</code>" in text
