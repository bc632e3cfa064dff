"""The environment as the caller gave it: a delegate gets exactly these variables, whatever Python did to its own."""

from __future__ import annotations


def parse(block: bytes) -> dict[str, str]:
    """Return the variables in what /proc/self/environ holds: as the process was started, whatever Python did since.

    (It sets LC_CTYPE where it finds no locale, PEP 538.)
    """
    variables: dict[str, str] = {}
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name:
            # Of a name that is there twice the first counts, as it does for getenv(3).
            variables.setdefault(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
    return variables
