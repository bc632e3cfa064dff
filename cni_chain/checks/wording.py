"""How findings word lists and numbers. Pure."""

from __future__ import annotations


def listed(words: list[str], most: int = 3) -> str:
    """Return the first `most` words with commas, and how many more exist."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def counted(number: int, noun: str) -> str:
    """Return a number of things, as in `1 record`, `2 records`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return `text` with escapes for what would move the cursor or can't be encoded: names come from other programs."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
