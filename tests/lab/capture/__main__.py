"""`python -m tests.lab.capture [--states N]`: random states of each mesh's rules, beside real connections (root)."""

import argparse
import sys
from collections import Counter

from tests.support.capture.campaign import compare
from tests.support.capture.meshes import MESHES
from tests.support.capture.pod import Pod
from tests.support.sandbox.namespaces import Sandbox


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--states", type=int, default=1000, help="of all meshes together")
    options.add_argument("--mesh", default="", help="only those whose name has this")
    given = options.parse_args()
    chosen = [mesh for mesh in MESHES if given.mesh in str(mesh)]
    wrong = total = connections = 0
    with Sandbox() as sandbox:
        for number, mesh in enumerate(chosen):
            with Pod.made(sandbox, f"pod{number}") as pod:
                found = list(compare(pod, mesh, -(-given.states // len(chosen))))
            counts = Counter(str(one.judged.state) for one in found)
            mistakes = [one for one in found if not one.is_right]
            total += len(found)
            connections += sum(len(one.reached) for one in found)
            wrong += len(mistakes)
            listed = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
            print(f"{mesh}: {len(found)} states: {listed}; {len(mistakes)} judged wrongly", flush=True)
            for one in mistakes[:3]:
                print(one)
    print(f"{total} states, {connections} connections, {wrong} judged wrongly")
    return 1 if wrong else 0


sys.exit(main())
