"""The machine scores of the contest: mask accuracy times a weighted sum of other measures.

2022: mask * (aesthetic / 10 * 0.5 + (100 - FID) / 100 * 0.5)
2023: mask * (aesthetic * 0.2 + (style * 0.5 + 0.5) * 0.3 + (100 - FID) / 100 * 0.5)

A measure may be None, not measured. Then no number takes its place: the score is None.
"""

from __future__ import annotations

from dataclasses import dataclass

AESTHETIC = "aesthetic"
WORST_FID = 100.0


@dataclass(frozen=True)
class Score:
    """A machine score; `terms` holds the weighted summands of the bracket, None if not measured."""

    mask_accuracy: float | None
    terms: dict[str, float | None]

    @property
    def total(self) -> float | None:
        """The score, None if one of its measures is missing."""
        return self._sum(tuple(self.terms))

    @property
    def without_aesthetic(self) -> float | None:
        """The score without the aesthetic term, None if another measure is missing."""
        return self._sum(tuple(name for name in self.terms if name != AESTHETIC))

    @property
    def missing(self) -> list[str]:
        """The names of the measures that are missing."""
        names = [] if self.mask_accuracy is not None else ["mask accuracy"]
        return names + [name for name, value in self.terms.items() if value is None]

    def _sum(self, names: tuple[str, ...]) -> float | None:
        bracket = 0.0
        for name in names:
            value = self.terms[name]
            if value is None:
                return None
            bracket += value
        return None if self.mask_accuracy is None else self.mask_accuracy * bracket


def score_2022(mask_accuracy: float | None, aesthetic: float | None, fid: float | None) -> Score:
    """Return the score of 2022; mask accuracy in 0..1, aesthetic in 0..10, FID 0 or more.

    Raises ValueError for a measure outside its range.
    """
    _check("mask accuracy", mask_accuracy, 0, 1)
    _check(AESTHETIC, aesthetic, 0, 10)
    return Score(mask_accuracy, {AESTHETIC: _scaled(aesthetic, 0.05), "FID": _fid_term(fid)})


def score_2023(
    mask_accuracy: float | None, aesthetic: float | None, style: float | None, fid: float | None
) -> Score:
    """Return the score of 2023; mask accuracy and aesthetic in 0..1, style in -1..1, FID >= 0.

    Raises ValueError for a measure outside its range.
    """
    _check("mask accuracy", mask_accuracy, 0, 1)
    _check(AESTHETIC, aesthetic, 0, 1)
    _check("style similarity", style, -1, 1)
    terms = {
        AESTHETIC: _scaled(aesthetic, 0.2),
        "style similarity": None if style is None else (style * 0.5 + 0.5) * 0.3,
        "FID": _fid_term(fid),
    }
    return Score(mask_accuracy, terms)


def _fid_term(fid: float | None) -> float | None:
    """An FID above 100 counts as 100."""
    if fid is None:
        return None
    _check("FID", fid, 0, float("inf"))
    return (WORST_FID - min(fid, WORST_FID)) / WORST_FID * 0.5


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _check(name: str, value: float | None, least: float, most: float) -> None:
    # a correlation may exceed 1 by a rounding
    if value is not None and not least - 1e-9 <= value <= most + 1e-9:
        raise ValueError(f"{name}: expected {least:g} to {most:g}, got {value}.")
