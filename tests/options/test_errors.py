from __future__ import annotations

from options.errors import UserError


def test_is_a_value_error_that_keeps_its_line() -> None:
    error = UserError("--classes takes a whole number: 'x' is not; write --classes 29")
    assert isinstance(error, ValueError)
    assert str(error).startswith("--classes takes")
