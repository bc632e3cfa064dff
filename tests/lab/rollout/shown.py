"""What a scenario has seen, as it is printed and kept: words, and commands of the operator with what they printed."""

import re
from pathlib import Path

from tests.lab.rollout.lab import LOGS, Lab
from tests.support.sandbox.namespaces import CHECKOUT


class Shown:
    """The lines of one scenario."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._lab, self._file = lab, Path(LOGS, f"{name}.txt")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text("")

    def say(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)
        with self._file.open("a") as file:
            file.write(f"{text}\n")

    def run(self, command: str, *, lines: str = "", node: str = "") -> str:
        """Run what an operator types, in the control plane's sandbox or on a node, and print both.

        Of the output only those lines are printed that the pattern `lines` finds.
        """
        place = self._lab.nodes[node].sandbox if node else self._lab.sandbox
        script = f"exec 2>&1; cd {CHECKOUT}; {command}"
        environment = self._lab.environment
        out = place.run("bash", "-c", script, env=environment, check=False, timeout=300).stdout
        kept = [line.rstrip() for line in out.splitlines() if re.search(lines, line)]
        self.say("\n".join([f"{node + ' ' if node else ''}$ {command}", *kept]))
        return out
