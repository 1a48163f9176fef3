from __future__ import annotations

from options.errors import UserError, cut, list_names, quote


def test_a_user_error_is_a_value_error_that_keeps_its_line() -> None:
    error = UserError("--classes: expected an integer, got 'x' (e.g. --classes 29)")
    assert isinstance(error, ValueError)
    assert str(error).startswith("--classes: expected")


def test_a_quote_is_on_one_line_and_cut() -> None:
    assert quote("a\nb") == r"'a\nb'"
    long = quote("x" * 5000)
    assert long.endswith("x'... (5000 characters)") and len(long) < 100


def test_a_long_message_is_cut() -> None:
    assert cut("short") == "short"
    assert cut("x" * 300, most=20) == "x" * 16 + " ..."


def test_at_most_ten_names_are_listed() -> None:
    assert list_names([]) == ""
    assert list_names(str(n) for n in range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert list_names(str(n) for n in range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
    assert list_names(["a", "b", "c"], most=1) == "a and 2 more"
