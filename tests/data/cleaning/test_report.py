"""The page: valid, self-contained, escaped."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from data.check import Fault
from data.cleaning.decisions import RULES, decide, find_thresholds
from data.cleaning.report import ReportFacts, write_report
from data.cleaning.scan import Settings, read_thumbnails, scan
from data.folders import find_pairs
from tests.data.cleaning.scenes import make_scene, write_scene, write_scenes

_VOID = {"meta", "img", "line", "rect", "br"}


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in _VOID:
            self.open.append(tag)
        self.sources += [given["src"] or ""] if "src" in given else []
        self.links += [given["href"] or ""] if "href" in given else []
        self.names |= {given["id"] or ""} if "id" in given else set()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def _part(page: str, name: str) -> str:
    return page.split(f'<h2 id="{name}">')[1].split("<h2")[0]


def test_the_page_is_valid_and_self_contained(tmp_path: Path) -> None:
    stems = write_scenes(tmp_path / "set", 20)
    write_scene(tmp_path / "set", "a <b> & 湖", *make_scene(3))
    cache = tmp_path / "cache"
    found = scan(find_pairs(tmp_path / "set"), Settings(29), cache, 1)
    thresholds = find_thresholds(found.table)
    facts = ReportFacts(
        "<set>", "python -m x", 29, [Fault("s", Path("/x/<s>.png"), "rule", "value", "fix")], 22,
        {rule.measure: "what it <is>" for rule in RULES},
    )  # fmt: skip
    page = write_report(
        found.table,
        thresholds,
        decide(found.table, thresholds),
        found.statistics,
        facts,
        lambda rows: read_thumbnails(cache, [found.keys[row] for row in rows]),
    )
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.sources and all(one.startswith("data:image/") for one in checker.sources)
    assert "http" not in page
    assert {link[1:] for link in checker.links} <= checker.names
    assert {rule.measure for rule in RULES} <= checker.names
    assert "a &lt;b&gt; &amp; 湖" in page and "a <b>" not in page and "/x/<s>" not in page
    # No pair is worse than the median, so none is near the threshold.
    assert "Just within" in _part(page, "border_support")
    assert found.table.values["shift_gain"].max() == 0
    assert "<figure" not in _part(page, "shift_gain")
    assert "Group 1: 2 pairs" in page and stems[3] in page
    assert all(name in page for name in ("sky", "lake", "agreement"))
