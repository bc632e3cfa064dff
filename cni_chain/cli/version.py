"""`cni-chain version`: the release, and what it speaks."""

from __future__ import annotations

from cni_chain import __version__
from cni_chain.cli.options import Output
from cni_chain.cli.output import Form, print_document
from cni_chain.node.tree import Tree
from cni_chain.plugin import spec


def command(output: Output = Form.TEXT) -> None:
    """Print the version of this program; with --output json or yaml, the CNI versions that it speaks as well.

    Exit status: 0.
    """
    if output.is_document:
        print_document(output, "version", Tree(), {"cniVersions": list(spec.VERSIONS)})
    else:
        print(f"cni-chain {__version__}")
