"""Searches the project's English for banned phrases and British spellings.

    python -m tests.test_words [PATH ...]       prints what it finds in these files and folders

A phrase matches whole words, in any case; an underscore separates words, so that identifiers are
searched, too.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = (
    ".py", ".md", ".sh", ".txt", ".toml", ".c", ".cc", ".h", ".cuh", "Makefile", ".ci/run",
)  # fmt: skip
# Texts of others, text in Chinese, the help that is a copy of the programs' texts, and this test.
SKIPPED = ("tests/goldens/", "docs/help/", "LICENSE", "tests/test_words.py")
CHINESE = ".zh-CN."
# Words that goldens store; the programs that write and read them use the same.
STORED_IN = ("tests/reference/",)
STORED = ("halvings", "photograph", "picture")
# Not in git: skipped if git is unavailable.
UNTRACKED = {".git", ".venv", "__pycache__", "results", "shared", "build", "node_modules"}

# Phrase, as a regular expression -> what to write instead.
PHRASES = {
    r"mend(?:s|ed|ing)?": "fix",
    r"(?:go|goes|going|went|gone) on": "continue, resume",
    r"(?:is|are|was|were) off": "is wrong, differs, is disabled",
    r"besides?": "next to, in addition to",
    r"whole or not at all": "atomically",
    r"nothing is": "no ... is; rephrase",
    r"a person's?": "the user, the user's",
    r"what (?:\w+ ){1,4}says": "the text of ..., the value of ...",
    r"for who": "for those who, if you",
    r"of which no": "none of which, without",
    r"at hand": "available",
    r"where there (?:is|are) (?:no|none)": "if there is no ...",
    r"hand(?:s|ed|ing)? (?:in|out|over|on)": "pass, submit, forward",
    r"(?:stand|stands|stood|standing) for": "mean, replace",
    r"(?:is|are) to be": "must be, will be; rephrase",
    r"shall": "must, should, will",
    r"pay(?:s|ing)?": "is faster, is worth it",
    r"painters?": "synthesizer",
    r"(?:picture|pictured|pictures)(?!_(?:spade|tsit|\{))": "image (made) or photo (real)",
    r"photograph(?:s|ed)?": "photo",
    r"halvings?": "num_downsamples, downsample",
    r"learners?": "trainer",
    r"thereby": "so that; two sentences",
    r"who(?:so)?ever": "anyone who, the user",
    r"in vain": "without success",
    r"somebody's": "the user's",
    r"per cent": "percent, %",
}
# Part of a word in British spelling -> American spelling.
SPELLINGS = {
    r"colour": "color",
    r"neighbour": "neighbor",
    r"behaviour": "behavior",
    r"favour": "favor",
    r"honour": "honor",
    r"flavour": "flavor",
    r"labour": "labor",
    r"vapour": "vapor",
    r"normalis": "normaliz",
    r"recognis": "recogniz",
    r"synchronis": "synchroniz",
    r"initialis": "initializ",
    r"serialis(?!t)": "serializ",
    r"generalis(?!t)": "generaliz",
    r"specialis(?!t)": "specializ",
    r"optimis(?!m|t)": "optimiz",
    r"minimis(?!m|t)": "minimiz",
    r"maximis(?!m|t)": "maximiz",
    r"organis(?!m|t)": "organiz",
    r"visualis(?!t)": "visualiz",
    r"finalis(?!t)": "finaliz",
    r"equalis": "equaliz",
    r"regularis": "regulariz",
    r"randomis": "randomiz",
    r"parametris": "parametriz",
    r"quantis": "quantiz",
    r"discretis": "discretiz",
    r"summaris": "summariz",
    r"categoris": "categoriz",
    r"standardis": "standardiz",
    r"utilis": "utiliz",
    r"realis(?:e|es|ed|ing|ation)\b": "realiz",
    r"penalis": "penaliz",
    r"vectoris": "vectoriz",
    r"rasteris": "rasteriz",
    r"tokenis": "tokeniz",
    r"analyse[drs]?\b(?<!analyses)|analysing": "analyze",
    r"catalogue": "catalog",
    r"centre": "center",
    r"centring": "centering",
    r"fibre": "fiber",
    r"grey": "gray",
    r"artefact": "artifact",
    r"judgement": "judgment",
    r"labell(?:ed|ing)": "labeled, labeling",
    r"modell(?:ed|ing|er)": "modeled, modeling",
    r"cancell(?:ed|ing)": "canceled, canceling",
    r"travell": "travel",
    r"signall(?:ed|ing)": "signaled, signaling",
    r"levell(?:ed|ing)": "leveled, leveling",
    r"channell(?:ed|ing)": "channeled, channeling",
    r"licence": "license",
    r"defence": "defense",
    r"practise": "practice",
    r"learnt": "learned",
    r"misspelt": "misspelled",
    r"(?<![a-z])spelt": "spelled",
    r"(?<![a-z])burnt": "burned",
    r"(?<![a-z])(?:centi|milli|kilo)?metres?(?![a-z])": "meter",
    r"(?<![a-z])whilst": "while",
    r"(?<![a-z])amongst": "among",
    r"(?<![a-z])programmes?(?![a-z])": "program",
    r"skilful": "skillful",
    r"fulfil(?![a-z])": "fulfill",
}


def _compile() -> list[tuple[re.Pattern[str], str]]:
    patterns = [
        # a phrase may continue on the next line of a comment or a docstring
        (rf"(?<![a-z])(?:{phrase.replace(' ', GAP)})(?![a-z])", instead)
        for phrase, instead in PHRASES.items()
    ]
    patterns += list(SPELLINGS.items())
    return [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in patterns]


GAP = r"(?:[ _]|\n[ \t]*(?:#+ |//+ |> |\")?)"
PATTERNS = _compile()


def faults_in(text: str) -> Iterator[tuple[int, str, str]]:
    """Yields line number, matched phrase and replacement."""
    for pattern, instead in PATTERNS:
        for match in pattern.finditer(text):
            found = re.sub(GAP, " ", match[0])
            yield text.count("\n", 0, match.start()) + 1, found, instead


def report(paths: Iterable[Path]) -> list[str]:
    """The faults of these files, one line each: file:line: phrase -> replacement."""
    lines = []
    for path in paths:
        name = str(path.relative_to(ROOT))
        stored = STORED if name.startswith(STORED_IN) else ()
        lines += [
            f"{name}:{number}: {found} -> {instead}"
            for number, found, instead in sorted(faults_in(path.read_text(encoding="utf-8")))
            if not found.lower().startswith(stored)
        ]
    return lines


def project_files() -> list[Path]:
    """The tracked text files of the project; without git, those in its folder."""
    try:
        command = ["git", "-C", str(ROOT), "ls-files", "-z"]
        listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        names = [name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = [str(path.relative_to(ROOT)) for path in _walk(ROOT)]
    return [
        ROOT / name
        for name in sorted(names)
        if name.endswith(SUFFIXES)
        and not name.startswith(SKIPPED)
        and CHINESE not in name
        and (ROOT / name).is_file()
    ]


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            if path.name not in UNTRACKED and not path.name.endswith("_cache"):
                yield from _walk(path)
        elif path.is_file():
            yield path
    # the runs are in its subfolders
    if folder == ROOT:
        yield ROOT / "results/README.md"


def test_the_project_uses_its_words() -> None:
    lines = report(project_files())
    assert not lines, "\n".join([f"{len(lines)} phrases to replace:", *lines])


@pytest.mark.parametrize(
    "text",
    [
        "the mend is named", "training goes on", "the loss is off", "beside the toolkit",
        "written whole or not at all", "nothing is lost", "a person's own file",
        "what a schedule says", "halvings", "num_halvings", "PICTURE_SIZE", "the Learner",
        "normalised colours", "neighbouring pixels", "it hands\n    # over the file",
        "a picture of 3 pixels", "photographs", "greyscale", "was learnt", "two metres",
    ],
)  # fmt: skip
def test_a_banned_phrase_is_found(text: str) -> None:
    assert list(faults_in(text))


@pytest.mark.parametrize(
    "text",
    [
        "recommend", "amendment", "offset", "it is official", "PIL", "picture_spade_most.npz",
        "shallow", "payload", "parameter", "the diameter", "programmer", "repository",
        "optimistic", "a minimal realistic scene", "the analysis", "both analyses", "its own",
        "go only", "going once", "handsome", "nothing else", "standard format", "a personal file",
        "photographic", "asymmetric", "is there", "organism", "fulfill", "the license",
    ],
)  # fmt: skip
def test_other_words_are_no_fault(text: str) -> None:
    assert not list(faults_in(text))


def test_files_are_found_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    tracked = set(project_files())
    monkeypatch.setattr(subprocess, "run", missing)
    assert tracked <= set(project_files())


def main(arguments: list[str]) -> int:
    """Prints the faults of the named files and folders; exit code 1 if there are any."""
    chosen = [Path(argument).resolve() for argument in arguments] or [ROOT]
    files = [p for p in project_files() if any(p.is_relative_to(one) for one in chosen)]
    lines = report(files)
    print(*lines, f"{len(lines)} phrases in {len(files)} files", sep="\n")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
