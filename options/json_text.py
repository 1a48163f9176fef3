"""JSON that may be damaged: whatever it holds, it is a value or a ValueError."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes, **settings: Any) -> Any:
    """Parse JSON; ValueError for what is none, such as brackets without end."""
    try:
        return json.loads(text, **settings)
    except RecursionError:
        raise ValueError("values nested too deeply") from None
