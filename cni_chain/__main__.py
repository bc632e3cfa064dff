"""The executable: a CNI plugin when a runtime calls it, a command line for people. Imports one of the two."""

from __future__ import annotations

import os
import sys

from cni_chain import environment


def main() -> int:
    """Return the exit status."""
    environ = _caller_environ()
    called = environ.get("CNI_COMMAND") or (
        # Somebody who tries cnitool has CNI_PATH exported, and still wants `cni-chain show`.
        len(sys.argv) == 1 and any(name.startswith("CNI_") for name in environ)
    )
    if called:
        from cni_chain import plugin

        return plugin.main(environ)
    from cni_chain import cli

    return cli.main()


def _caller_environ() -> dict[str, str]:
    home = getattr(sys, "_MEIPASS", None)
    if home is not None:
        return environment.before_boot_loader(os.environ, home)
    if os.environ.get("LC_CTYPE") == "C.UTF-8":
        with open("/proc/self/environ", "rb") as given:
            return environment.before_interpreter(os.environ, given.read())
    return dict(os.environ)


if __name__ == "__main__":
    sys.exit(main())
