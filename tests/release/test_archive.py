"""The archive that a node's administrator unpacks."""

import subprocess
import tarfile
from pathlib import Path

from cni_chain import __version__
from tests.support.published import made, refused, stand_in


def test_the_program_runs_where_the_archive_is_unpacked_and_the_nodes_directories_stay_as_they_are(
    frozen: Path, tmp_path: Path
) -> None:
    opt = tmp_path / "opt/cni"
    (opt / "bin").mkdir(parents=True)
    for directory in (opt, opt / "bin"):
        directory.chmod(0o710)
    [archive] = made("archive", tmp_path / "dist", frozen)

    subprocess.run(["tar", "-xzf", archive, "-C", opt], check=True)  # noqa: S607

    said = subprocess.run(
        [opt / "bin/cni-chain", "--version"], env={}, capture_output=True, text=True, check=True
    ).stdout
    assert said == f"cni-chain {__version__}\n"
    assert [oct(directory.stat().st_mode & 0o7777) for directory in (opt, opt / "bin")] == ["0o710", "0o710"]


def test_nothing_in_the_archive_depends_on_who_made_it_when_and_where(tmp_path: Path) -> None:
    contents, archive = [], ""
    for name, mode in (("here", 0o755), ("there", 0o700)):
        program = stand_in(tmp_path / name)
        (program / "cni-chain" / __version__).chmod(mode)
        [archive] = made("archive", tmp_path / f"dist-{name}", program)
        contents.append(Path(archive).read_bytes())

    assert contents[0] == contents[1]
    with tarfile.open(archive) as tar:
        assert {(one.uid, one.gid, one.uname, one.gname, one.mtime) for one in tar} == {(0, 0, "", "", 1700000000)}
        assert {oct(one.mode) for one in tar if not one.issym()} == {"0o755", "0o644"}


def test_each_archive_has_the_name_of_the_architecture_that_its_program_is_for(tmp_path: Path) -> None:
    programs = [stand_in(tmp_path / architecture, architecture) for architecture in ("amd64", "arm64")]

    said = made("archive", tmp_path / "dist", *programs)

    names = [f"cni-chain-{__version__}-linux-{architecture}.tar.gz" for architecture in ("amd64", "arm64")]
    assert said == [str(tmp_path / "dist" / name) for name in names]
    assert sorted(file.name for file in (tmp_path / "dist").iterdir()) == sorted(
        [*names, *(f"{n}.sha256" for n in names)]
    )
    command = ["sha256sum", "--check", *(f"{name}.sha256" for name in names)]
    subprocess.run(command, cwd=tmp_path / "dist", check=True)


def test_what_is_no_frozen_program_is_refused_by_name(tmp_path: Path) -> None:
    script, foreign = stand_in(tmp_path / "script"), stand_in(tmp_path / "foreign")
    (script / "bin/cni-chain").write_text("#!/bin/sh\n")
    (foreign / "bin/cni-chain").write_bytes(b"\x7fELF\x02\x01".ljust(18, b"\0") + b"\xf3\0")
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain/bin").mkdir(parents=True)
    (tmp_path / "plain/bin/cni-chain").symlink_to("/usr/bin/true")
    found = {
        name: refused("archive", tmp_path / "dist", tmp_path / name) for name in ("script", "foreign", "empty", "plain")
    }

    begin = {name: f"archive: {tmp_path}/{name}/bin/cni-chain: " for name in found}
    end = "; `make frozen` makes such a directory"
    assert found == {
        "script": f"{begin['script']}the program is not a 64-bit ELF file{end}",
        "foreign": f"{begin['foreign']}the program is for ELF machine 243; only amd64 and arm64 are published{end}",
        "empty": f"{begin['empty']}No such file or directory{end}",
        "plain": f"{begin['plain']}is not a link to ../cni-chain/<version>/cni-chain{end}",
    }
    assert not (tmp_path / "dist").exists()
