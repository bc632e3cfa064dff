"""The executable: a CNI plugin when a runtime calls it, a command line when a person does. Imports one of the two."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Return the exit status."""
    environ = dict(os.environ)
    called = environ.get("CNI_COMMAND") or (
        # Somebody who tries cnitool has CNI_PATH exported, and still wants `cni-chain show`.
        len(sys.argv) == 1 and any(name.startswith("CNI_") for name in environ)
    )
    if called:
        from cni_chain import plugin  # each half is loaded only where it runs

        return plugin.main(environ)
    from cni_chain import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
