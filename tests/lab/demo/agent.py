"""Plays an agent that never stops rewriting its file, in the agent's own way. Standard library only.

agent.py cilium|istio FILE CONFIGURATION SECONDS    every so many seconds; a line on stdout once it has begun
"""

import itertools
import json
import os
import secrets
import sys
import time
from pathlib import Path


def cilium(file: Path, text: bytes) -> None:
    """Hidden temporary file, fsync, rename; then every other configuration in there is put out of the way."""
    temporary = file.with_name(f".{file.name}{secrets.randbelow(10**9)}")
    with temporary.open("xb") as stream:
        stream.write(text)
        os.fsync(stream.fileno())
    temporary.chmod(0o644)
    temporary.rename(file)
    for other in file.parent.iterdir():
        if other != file and other.suffix in {".conf", ".conflist", ".json"}:
            other.rename(f"{other}.cilium_bak")


def istio(file: Path, text: bytes) -> None:
    """Temporary file under another name, rename; no fsync."""
    temporary = file.with_name(f"{file.name}.tmp.{secrets.randbelow(10**9)}")
    temporary.write_bytes(text)
    temporary.chmod(0o600)
    temporary.rename(file)


def main(agent: str, file: str, configuration: str, seconds: str) -> None:
    conf = json.loads(configuration)
    plugin = conf["plugins"][0] if "plugins" in conf else conf
    write = {"cilium": cilium, "istio": istio}[agent]
    for generation in itertools.count(1):
        # A key that no plugin knows, so that each time it really is another file.
        plugin["generation"] = generation
        write(Path(file), json.dumps(conf).encode())
        if generation == 1:
            print("writing", flush=True)
        time.sleep(float(seconds))


main(*sys.argv[1:])
