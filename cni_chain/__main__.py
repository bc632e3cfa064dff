"""The executable: a CNI plugin when a runtime calls it, a command line for people. Imports one of the two."""

from __future__ import annotations

import sys

from cni_chain.plugin import system


def main() -> int:
    """Return the exit status."""
    environ = caller_environ()
    called = environ.get("CNI_COMMAND") or (
        # A person who tries cnitool has exported CNI_PATH, and still wants `cni-chain show`.
        len(sys.argv) == 1 and any(name.startswith("CNI_") for name in environ)
    )
    if called:
        from cni_chain.plugin import protocol

        return protocol.main(environ)
    from cni_chain import cli

    return cli.main()


def caller_environ() -> dict[str, str]:
    """Return the environment as the caller gave it."""
    try:
        with open("/proc/self/environ", "rb", buffering=0) as block:
            return system.variables(block.readall())
    except OSError:
        from os import environ

        return dict(environ)


def run() -> None:
    """Do what was asked, and end the process."""
    status = main()
    if "cni_chain.cli" not in sys.modules:
        system._exit(status)  # the answer is out, and taking the interpreter down would cost more than writing it did
    sys.exit(status)


if __name__ == "__main__":
    run()
