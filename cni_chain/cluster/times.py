"""Times as the API server and the agent's log write them. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def seconds(text: Any) -> float | None:
    """Return a time (RFC 3339) in seconds since 1970, None if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment.timestamp() if moment.tzinfo else None
