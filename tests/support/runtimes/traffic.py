"""A pod's client, run in its network namespace: asks every server of a list, again and again, and notes how it went.

traffic.py SERVERS NOTES    SERVERS has lines "ADDRESS PORT NAME"; a server's first line must be its name. NOTES.rounds
                            counts the rounds, NOTES.failed has a line for each request that failed
traffic.py ADDRESS PORT NAME    ends when that server answers
"""

import socket
import sys
import time
import urllib.request
from pathlib import Path

# Long enough for a busy machine: a request that takes so long is one that never comes back.
PATIENCE = 20
# Between two rounds, so that the clients leave the processor to the pods.
PAUSE = 0.1


def ask(address: str, port: str, name: str) -> str:
    """What went wrong, if anything."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=PATIENCE) as response:
            said: str = response.readline().decode().strip()
    except OSError as e:
        return f"{name} {address}: {e}"
    return "" if said == name else f"{name} {address}: answered {said!r}"


def main() -> None:
    if len(sys.argv) > 3:
        while ask(*sys.argv[1:]):
            time.sleep(0.02)
        return
    servers, notes = Path(sys.argv[1]), sys.argv[2]
    print(f"ready on {socket.gethostname()}", flush=True)
    done = 0
    while True:
        for line in servers.read_text().splitlines():
            trouble = ask(*line.split())
            if trouble:
                with Path(f"{notes}.failed").open("a") as failed:
                    failed.write(f"{trouble}\n")
        done += 1
        new = Path(f"{notes}.new")
        new.write_text(str(done))
        new.replace(f"{notes}.rounds")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
