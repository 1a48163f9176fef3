"""Parses JSON that may be damaged: the result is a value or a ValueError."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes, **settings: Any) -> Any:
    """Parses JSON; raises ValueError for any other text, endless brackets included."""
    try:
        return json.loads(text, **settings)
    except RecursionError:
        raise ValueError("values nested too deeply") from None
