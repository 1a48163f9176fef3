"""The documentation: links, languages, flags and quoted messages agree with the files and the code.

README*.md is one screen, docs/ holds the pages. Each page has a Chinese counterpart.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from options.command_line import parse_test, parse_train
from options.fields import Option, option_fields
from options.test import TestOptions
from options.train import RUN_FIELDS

ROOT = Path(__file__).resolve().parents[1]
READMES = ("README.md", "README.zh-CN.md")
CHINESE = ".zh-CN.md"
# Pages without a Chinese counterpart.
ENGLISH_ONLY = {"docs/gpu.md", "docs/performance.md", "docs/reliability.md", "docs/fidelity.md"}
PAGES = (*READMES, "results/README.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")))
PAIRS = [page for page in PAGES if (ROOT / page.replace(".md", CHINESE)).is_file()]
MOST_LINES = 90
# Flags of programs that do not belong to this project.
OTHER_FLAGS = {
    "--allow-run-as-root", "--oversubscribe",  # mpirun
    "--logdir",  # tensorboard
    "--notest",  # convmv
    "--user",  # docker
}  # fmt: skip
# Messages of Jittor.
OTHER_MESSAGES = {"Caught SIGCHLD"}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose_of(page: str) -> str:
    """A page without its code."""
    return re.sub(r"^```.*?^```|`[^`\n]*`", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def fenced(page: str) -> str:
    """The shell commands of a page."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)
    return "".join(blocks)


def links_of(page: str) -> list[str]:
    # The text of a link may be code.
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    links = re.findall(r'\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"', text)
    return [first or second for first, second in links]


@cache
def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    anchors: set[str] = set()
    for heading in re.findall(r"^#+\s+(.*?)\s*$", text, re.MULTILINE):
        bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", bare.lower()).replace(" ", "-")
        copies = (slug, *(f"{slug}-{number}" for number in range(1, 100)))
        anchors.add(next(copy for copy in copies if copy not in anchors))
    return anchors


def flags_of(page: str) -> set[str]:
    found = re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", text_of(page))
    return {flag.replace("_", "-") for flag in found}


@cache
def known_flags() -> frozenset[str]:
    """Every flag of train.py, test.py and the tools, with hyphens."""
    options: list[Option] = [*RUN_FIELDS.values(), *option_fields(TestOptions)]
    flags = {"--help", "--size"}
    for option in options:
        flags |= {option.flag, *option.flags}
        if option.kind is bool:
            flags.add("--no-" + option.flag[2:])
    for folder in ("tools", "runtime", "tests/reference"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    flags |= {one for one in map(constant, node.args) if one.startswith("--")}
    return frozenset(flag.replace("_", "-") for flag in flags)


def constant(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def messages_in(source: str) -> Iterator[str]:
    """The strings of Python code but docstrings, an ellipsis for each value that is filled in."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(constant(part) or "…" for part in node.values)
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield constant(node)


@cache
def program_messages() -> frozenset[str]:
    folders = (
        "data", "inference", "metrics", "models", "options", "runtime", "tools", "training",
        "weights",
    )  # fmt: skip
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    sources += [ROOT / "train.py", ROOT / "test.py"]
    messages = [one for path in sources for one in messages_in(path.read_text("utf-8"))]
    shell = (ROOT / "runtime/set_up.sh").read_text("utf-8")
    return frozenset((*messages, *re.sub(r"\$\{[^}]*\}|\$\w+", "…", shell).splitlines()))


def quoted_messages(page: str) -> list[str]:
    """The code of several words in the first column of the tables of messages."""
    tables = text_of(page).split("\n## ")[2:]  # the first section has the exit codes
    cells = [row.split(" | ")[0] for table in tables for row in table.splitlines()]
    return [
        quote
        for cell in cells
        if cell.startswith("| ")
        for quote in re.findall(r"`([^`]+)`", cell)
        if " " in quote
    ]


def is_quoted_from(quote: str, message: str) -> bool:
    """Whether a message has the parts of a quotation, in order."""
    place = 0
    for part in quote.split("…"):
        place = message.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    for link in links_of(page):
        if re.match(r"https?:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), f"{page}: {link} is missing"
        if anchor:
            assert anchor in anchors_of(target.resolve()), f"{page}: {link} has no such heading"


def test_every_page_is_linked() -> None:
    linked = {
        ((ROOT / page).parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in links_of(page)
        if not re.match(r"https?:|#", link)
    }
    assert {page for page in PAGES if page.startswith("docs/")} == {
        page for page in PAGES if page.startswith("docs/") and (ROOT / page).resolve() in linked
    }


@pytest.mark.parametrize("page", READMES)
def test_a_readme_is_one_screen_and_links_each_page_once(page: str) -> None:
    assert len(text_of(page).splitlines()) <= MOST_LINES
    links = links_of(page)
    assert len(links) == len(set(links))


def test_every_page_has_both_languages() -> None:
    pages = {page for page in PAGES if page.startswith("docs/")} | set(READMES)
    chinese = {page for page in pages if page.endswith(CHINESE)}
    english = {page.replace(CHINESE, ".md") for page in chinese}
    assert pages == ENGLISH_ONLY | chinese | english


@pytest.mark.parametrize("page", PAIRS)
def test_the_two_languages_link_to_each_other(page: str) -> None:
    other = page.replace(".md", CHINESE)
    assert Path(other).name in links_of(page)[0]
    assert Path(page).name in links_of(other)[0]


@pytest.mark.parametrize("page", PAIRS)
def test_the_two_languages_name_the_same_flags_and_numbers_of_sections(page: str) -> None:
    other = page.replace(".md", CHINESE)
    assert flags_of(page) == flags_of(other)
    levels = [re.findall(r"^#+ ", text_of(one), re.MULTILINE) for one in (page, other)]
    assert levels[0] == levels[1]


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_is_known_to_a_program(page: str) -> None:
    assert flags_of(page) - known_flags() - OTHER_FLAGS == set()


@pytest.mark.parametrize("page", PAGES)
def test_train_and_test_accept_the_commands_of_the_page(page: str) -> None:
    for program, words in re.findall(r"^.*?(train|test)\.sh\b(.*)$", fenced(page), re.MULTILINE):
        arguments = shlex.split(words.partition(" > ")[0], comments=True)
        parse_train(arguments) if program == "train" else parse_test(arguments)


def test_the_quoted_messages_are_those_of_the_programs() -> None:
    quotes = quoted_messages("docs/troubleshooting.md")
    assert len(quotes) > 30
    assert quoted_messages("docs/troubleshooting.zh-CN.md") == quotes
    missing = [
        quote
        for quote in quotes
        if quote not in OTHER_MESSAGES
        and not any(is_quoted_from(quote, message) for message in program_messages())
    ]
    assert missing == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(CHINESE)])
def test_chinese_and_latin_words_are_separated(page: str) -> None:
    text = re.sub(r"\]\([^)]*\)", "]", prose_of(page))
    assert re.findall(r"[\u4e00-\u9fff][A-Za-z0-9]|[A-Za-z0-9][\u4e00-\u9fff]", text) == []
    assert re.findall(r"[\u4e00-\u9fff] ?[,;:?!]|[\u4e00-\u9fff]\.(?:\s|$)", text) == []
