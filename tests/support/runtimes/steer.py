"""A real plugin that a test can make fail or hang: a script in its place does what a file says, else runs it."""

import contextlib
import json
from collections.abc import Iterator

from tests.support.sandbox.node import BIN, Node

# Where the real ones are meanwhile, and the files.
STEERED = "/opt/cni/steered"
SCRIPT = """\
#!/bin/sh
if [ -e "{orders}" ]; then . "{orders}"; fi
exec {real}
"""


class Steered:
    """A plugin in our hands."""

    def __init__(self, node: Node, kind: str) -> None:
        self._node = node
        self._real = f"{STEERED}/{kind}"

    def fails(self, verb: str, msg: str) -> None:
        """From now on it fails; at ADD when its work is done, so that there is something to undo, else before it."""
        error = json.dumps({"cniVersion": "1.0.0", "code": 123, "msg": msg})
        work = f"{self._real} >{STEERED}/out\n" if verb == "ADD" else ""
        self._order(verb, f"{work}echo '{error}'\nexit 1\n")

    def crashes(self, verb: str, said: str) -> None:
        """From now on it ends as a Go program does that panics."""
        self._order(verb, f"echo '{said}' >&2\nexit 2\n")

    def hangs(self, verb: str) -> None:
        """From now on it does its work and then never ends."""
        self._order(verb, f"{self._real} >{STEERED}/out\ntouch {self._real}.reached\nexec sleep 600\n")

    def tells(self, verb: str) -> None:
        """From now on it says in which namespace it is asked to work, and works."""
        self._order(verb, f'echo "$CNI_NETNS" >>"{self._real}.told"\n')

    def told(self) -> list[str]:
        """The namespaces that it has said."""
        file = self._node.sandbox.path(f"{self._real}.told")
        return file.read_text().splitlines() if file.exists() else []

    def reached(self) -> bool:
        """Does it hang now?"""
        return self._node.sandbox.path(f"{self._real}.reached").exists()

    def works(self) -> None:
        """From now on it is the real plugin again."""
        for file in self._node.sandbox.path(STEERED).glob(f"{self._real.rpartition('/')[2]}.*"):
            file.unlink()

    def _order(self, verb: str, script: str) -> None:
        file = self._node.sandbox.path(f"{self._real}.{verb}")
        temporary = file.with_name(".new")
        temporary.write_text(script)
        temporary.rename(file)


@contextlib.contextmanager
def steered(node: Node, kind: str) -> Iterator[Steered]:
    """Take a plugin in hand."""
    entry, real = node.sandbox.path(f"{BIN}/{kind}"), node.sandbox.path(f"{STEERED}/{kind}")
    entry.rename(real)
    entry.write_text(SCRIPT.format(orders=f"{STEERED}/{kind}.$CNI_COMMAND", real=f"{STEERED}/{kind}"))
    entry.chmod(0o755)
    plugin = Steered(node, kind)
    try:
        yield plugin
    finally:
        plugin.works()
        node.sandbox.path(f"{STEERED}/out").unlink(missing_ok=True)
        real.rename(entry)
