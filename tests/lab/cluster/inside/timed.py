"""Runs a command some times; prints how it ended and what each run took, as JSON: timed.py TIMES COMMAND...

`ms` is the time that passed, `cpu` that of the processor, of the command and of its children.
"""

import json
import resource
import subprocess
import sys
import time
from typing import Any


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: list[str]) -> dict[str, Any]:
    start, before = time.perf_counter(), spent()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took = {"ms": round((time.perf_counter() - start) * 1000, 1), "cpu": round((spent() - before) * 1000, 1)}
    return {"status": done.returncode, "out": done.stdout, "err": done.stderr, **took}


def main() -> None:
    runs = [run(sys.argv[2:]) for _ in range(int(sys.argv[1]))]
    print(json.dumps(runs[-1] | {key: [one[key] for one in runs] for key in ("ms", "cpu")}))


main()
