"""python -m build.release COMMAND: what the Makefile's targets and the release workflow call, in a checkout."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from build.release import frozen, publish, version
from build.release.changelog import ChangelogError
from build.release.chart import ChartError
from build.release.signature import SigningError

CHECKOUT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Run one command. Return the exit status: 1 if it refuses, with the reason on stderr."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "archive":
            _said(publish.archives(_programs(given), given.out, _date()))
        elif given.command == "image":
            _said(publish.image_files(_programs(given), given.out, _date(), given.name, _git("rev-parse", "HEAD")))
        elif given.command == "chart":
            _said(publish.packed_chart(CHECKOUT, given.out, _date(), given.name, given.digest))
        elif given.command == "release":
            _said(publish.release(CHECKOUT, _programs(given), given.out, _order(given)))
        elif given.command == "version":
            _said(version.release(CHECKOUT, given.version, _today()))
        else:
            _said(version.prepare(CHECKOUT, given.version))
    except (ChangelogError, ChartError, SigningError, frozen.NotFrozenError, publish.RefusedError) as error:
        print(f"{given.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m build.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = [
        commands.add_parser("archive", help="an archive of each program, to unpack into /opt/cni, and its checksum"),
        commands.add_parser("image", help="one OCI image archive of all programs, and a bill of materials of each"),
        commands.add_parser("release", help="a directory with all that is published"),
    ]
    for one in packing:
        one.add_argument("out", type=Path, metavar="OUT", help="the directory to write to")
        one.add_argument("programs", type=Path, metavar="FROZEN", nargs="+", help="what build/freeze made")
    for one in packing[1:]:
        one.add_argument("--name", default="localhost/cni-chain", help="the image's name, without a tag (%(default)s)")
    packing[2].add_argument("--repository", required=True, help="https://…, where the source is published")
    packing[2].add_argument("--builder", default="", help="the URI of the service that builds (default: a person)")
    packing[2].add_argument("--tag", default="", help="the tag that is released, which must be the version's")
    packing[2].add_argument("--key", type=Path, help="sign with this private key (ECDSA P-256, PEM)")
    chart = commands.add_parser("chart", help="the Helm chart, with the image's name in it")
    chart.add_argument("out", type=Path, metavar="OUT", help="the directory to write to")
    chart.add_argument("--name", default="localhost/cni-chain", help="the image's name, without a tag (%(default)s)")
    chart.add_argument("--digest", default="", help="the image's digest (default: by its tag, the version)")
    for name, text in (
        ("version", "set the version, and date its section of CHANGELOG.md"),
        ("next", "begin the section of the next version in CHANGELOG.md"),
    ):
        commands.add_parser(name, help=text).add_argument("version", metavar="VERSION")
    return parser


def _programs(given: argparse.Namespace) -> list[frozen.Frozen]:
    return [frozen.read(directory) for directory in given.programs]


def _order(given: argparse.Namespace) -> publish.Order:
    return publish.Order(
        date=_date(),
        image=given.name,
        repository=given.repository.rstrip("/"),
        commit=_git("rev-parse", "HEAD"),
        changed=bool(_git("status", "--porcelain")),
        tag=given.tag,
        builder=given.builder,
        key=given.key,
    )


def _date() -> int:
    """Return the time of what is made: SOURCE_DATE_EPOCH, or the commit's. Outside a checkout, 1980."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or 315532800)


def _today() -> str:
    """Return the day that a release has in the CHANGELOG: SOURCE_DATE_EPOCH's, or this one, in UTC."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return (datetime.fromtimestamp(int(given), UTC) if given else datetime.now(UTC)).strftime("%Y-%m-%d")


def _git(*arguments: str) -> str:
    """Return what git prints in the checkout, and nothing if it can't."""
    command = ["git", "-C", str(CHECKOUT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def _said(lines: list[str]) -> None:
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
