"""A release as its user verifies it, by checksums, signature and provenance; and what is not released."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cni_chain import __version__
from tests.support.published import REPOSITORY, checkout_in, commit, git, made, refused, stand_in, write_changelog

BUILDER = "https://example.org/builds/7"
# What a release has only if there is a key.
SIGNED = {"SHA256SUMS.sig", "SHA256SUMS.sigstore.json", f"cni-chain-{__version__}-provenance.sigstore.json"}
PASSWORD = "open sesame"  # noqa: S105  # of a key that is thrown away


def openssl(*arguments: str | Path, stdin: bytes = b"", check: bool = True) -> bytes:
    command: list[str | Path] = ["openssl", *arguments]
    return subprocess.run(command, input=stdin, check=check, capture_output=True).stdout


def new_key(file: Path, *, curve: str = "prime256v1", password: str = "") -> Path:
    pem = openssl("ecparam", "-name", curve, "-genkey", "-noout")
    options = ["-aes256", "-passout", f"pass:{password}"] if password else []
    file.write_bytes(openssl("ec", *options, stdin=pem))
    return file


def is_signed(key: Path, content: bytes, signature: bytes, folder: Path) -> bool:
    """As whoever has only the public key finds out."""
    openssl("pkey", "-in", key, "-passin", f"pass:{PASSWORD}", "-pubout", "-out", folder / "public.pem")
    (folder / "signature").write_bytes(base64.b64decode(signature))
    arguments = ("-verify", folder / "public.pem", "-signature", folder / "signature")
    return openssl("dgst", "-sha256", *arguments, stdin=content, check=False) == b"Verified OK\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout_in(tmp_path_factory.mktemp("checkout") / "cni-chain")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("programs")
    return [stand_in(folder / architecture, architecture) for architecture in ("amd64", "arm64")]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_key(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.fixture(scope="module")
def out(checkout: Path, programs: list[Path], key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release, signed."""
    out = tmp_path_factory.mktemp("release") / "it"
    options: list[str | Path] = [
        "--name",
        "example.org/cni-chain",
        "--builder",
        BUILDER,
        "--key",
        key,
        "--repository",
        REPOSITORY,
    ]
    made("release", out, *programs, *options, checkout=checkout)
    return out


def test_all_that_is_published_is_there(out: Path) -> None:
    name = f"cni-chain-{__version__}"
    assert sorted(file.name for file in out.iterdir()) == [
        "SHA256SUMS",
        "SHA256SUMS.sig",
        "SHA256SUMS.sigstore.json",
        f"{name}-image.tar",
        f"{name}-linux-amd64.cdx.json",
        f"{name}-linux-amd64.tar.gz",
        f"{name}-linux-arm64.cdx.json",
        f"{name}-linux-arm64.tar.gz",
        f"{name}-provenance.json",
        f"{name}-provenance.sigstore.json",
        f"{name}.tgz",
        "notes.md",
    ]
    assert (out / "notes.md").read_text() == "- It is there.\n"


def test_the_checksums_are_of_every_file_and_signed(out: Path, key: Path, tmp_path: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=out, capture_output=True, text=True, check=True)  # noqa: S607

    summed = {line.removesuffix(": OK") for line in done.stdout.splitlines()}
    assert summed == {file.name for file in out.iterdir()} - SIGNED - {"SHA256SUMS", "notes.md"}
    sums, signature = (out / "SHA256SUMS").read_bytes(), (out / "SHA256SUMS.sig").read_bytes()
    assert is_signed(key, sums, signature, tmp_path)
    assert not is_signed(key, sums + b" ", signature, tmp_path)
    assert not is_signed(new_key(tmp_path / "other.pem"), sums, signature, tmp_path)
    bundle: Any = json.loads((out / "SHA256SUMS.sigstore.json").read_text())
    assert bundle["messageSignature"]["signature"].encode() == signature.strip()


def test_the_provenance_names_every_file_by_its_checksum_and_where_it_comes_from(out: Path, checkout: Path) -> None:
    statement = json.loads((out / f"cni-chain-{__version__}-provenance.json").read_text())

    assert (statement["_type"], statement["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    image = subjects.pop("example.org/cni-chain")
    files = [
        file for file in out.iterdir() if file.suffix in (".tar", ".gz", ".tgz") or file.name.endswith(".cdx.json")
    ]
    assert subjects == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    with tarfile.open(out / f"cni-chain-{__version__}-image.tar") as archive:
        assert f"blobs/sha256/{image}" in archive.getnames()
    definition, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    source = f"git+{REPOSITORY}@refs/tags/v{__version__}"
    assert definition["externalParameters"] == {"source": source, "image": "example.org/cni-chain"}
    head = git(checkout, "rev-parse", "HEAD")
    assert definition["resolvedDependencies"] == [
        {"uri": source, "digest": {"gitCommit": head}},
        {"uri": "pkg:pypi/typer@1"},
    ]
    assert run["builder"]["id"] == BUILDER
    page = definition["buildType"].removeprefix(f"{REPOSITORY}/blob/v{__version__}/")
    assert (checkout / page).is_file()


def test_the_provenance_is_signed_in_the_envelope_that_cosign_reads(out: Path, key: Path, tmp_path: Path) -> None:
    """Dead Simple Signing Envelope: the kind of the content is signed with the content."""
    bundle: Any = json.loads((out / f"cni-chain-{__version__}-provenance.sigstore.json").read_text())
    envelope = bundle["dsseEnvelope"]
    statement = base64.b64decode(envelope["payload"])
    [signature] = envelope["signatures"]

    assert statement == (out / f"cni-chain-{__version__}-provenance.json").read_bytes()
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(statement), statement)
    assert is_signed(key, signed, signature["sig"].encode(), tmp_path)
    assert not is_signed(key, statement, signature["sig"].encode(), tmp_path)


def test_the_same_commit_gives_the_same_release(
    out: Path, checkout: Path, programs: list[Path], tmp_path: Path
) -> None:
    options = ["--name", "example.org/cni-chain", "--builder", BUILDER, "--repository", f"{REPOSITORY}/"]
    made("release", tmp_path / "it", *programs, *options, checkout=checkout)

    again = {file.name: file.read_bytes() for file in (tmp_path / "it").iterdir()}
    assert again == {file.name: file.read_bytes() for file in out.iterdir() if file.name not in SIGNED}


def test_a_key_with_a_passphrase_signs_if_the_environment_has_it(
    checkout: Path, programs: list[Path], tmp_path: Path
) -> None:
    key = new_key(tmp_path / "key.pem", password=PASSWORD)
    order: list[str | Path] = ["release", tmp_path / "it", *programs, "--repository", REPOSITORY, "--key", key]

    assert "its passphrase, if it has one, in CNI_CHAIN_KEY_PASSWORD" in refused(*order, checkout=checkout)
    made(*order, checkout=checkout, CNI_CHAIN_KEY_PASSWORD=PASSWORD)

    sums, signature = ((tmp_path / "it" / name).read_bytes() for name in ("SHA256SUMS", "SHA256SUMS.sig"))
    assert is_signed(key, sums, signature, tmp_path)


def test_a_key_that_cosign_would_not_verify_is_refused(checkout: Path, programs: list[Path], tmp_path: Path) -> None:
    keys = {
        "rsa": openssl("genrsa", "2048"),
        "p384": openssl("ecparam", "-name", "secp384r1", "-genkey", "-noout"),
        "no key": b"nothing\n",
    }
    order: list[str | Path] = ["release", tmp_path / "it", *programs, "--repository", REPOSITORY, "--key"]
    found = {}
    for name, pem in keys.items():
        (tmp_path / name).write_bytes(pem)
        found[name] = refused(*order, tmp_path / name, checkout=checkout)

    for name in ("rsa", "p384"):
        assert found[name].startswith(f"release: {tmp_path}/{name}: is not a key of the curve P-256, which cosign ver")
    assert found["no key"].startswith(f"release: {tmp_path}/no key: openssl can't use this key (")
    assert not (tmp_path / "it").exists()


def test_what_is_not_what_the_commit_and_the_changelog_say_is_not_released(tmp_path: Path) -> None:
    checkout = checkout_in(tmp_path / "cni-chain")
    program, other = stand_in(tmp_path / "program"), stand_in(tmp_path / "other", version="9.9.9")
    out = tmp_path / "it"

    def reason(program: Path = program, tag: str = f"v{__version__}") -> str:
        message = refused("release", out, program, "--repository", REPOSITORY, "--tag", tag, checkout=checkout)
        return message.removeprefix("release: ")

    nowhere = refused("release", out, program, "--repository", "", checkout=checkout)
    assert nowhere == "release: '' is not where the source is published: REPOSITORY=https://…"
    assert reason(tag="v9.9.9") == f"the tag is v9.9.9, and the program's version {__version__} needs v{__version__}"
    assert reason(other) == f"the programs are of 9.9.9, the checkout is of {__version__}; build again"
    write_changelog(checkout, f"## {__version__}, not released\n\n- It is there.\n")
    changed = "the checkout has changes that are in no commit; commit or stash them, and build again"
    assert reason() == changed
    commit(checkout)
    assert reason() == (
        f"CHANGELOG.md: begins with '{__version__}, not released', and the program's version is {__version__}; "
        f"`make version NEW={__version__}` dates it"
    )
    write_changelog(checkout, f"## {__version__}, 2026-01-02\n\n- It is there.\n")
    commit(checkout)
    out.mkdir()
    assert reason() == f"{out}: exists already; remove it, if it was never published"
    assert list(out.iterdir()) == []
    shutil.rmtree(checkout / ".git")
    assert reason() == f"{checkout}: git does not tell which commit this is: see `git -C {checkout} status`"


@pytest.mark.skipif(
    not shutil.which("cosign"), reason="by design: cosign takes minutes to build; openssl does the same"
)
def test_cosign_verifies_it(out: Path, key: Path, tmp_path: Path) -> None:
    """Run with cosign 3.1.3; docs/develop/releasing.md tells a user these commands."""
    openssl("pkey", "-in", key, "-pubout", "-out", tmp_path / "cosign.pub")
    options: list[str | Path] = ["--key", tmp_path / "cosign.pub", "--insecure-ignore-tlog"]
    provenance = out / f"cni-chain-{__version__}-provenance.sigstore.json"
    (tmp_path / "other").write_text("not of this release\n")

    def status(command: str, bundle: Path, file: Path, *more: str) -> int:
        arguments: list[str | Path] = ["cosign", command, *options, "--bundle", bundle, *more, file]
        return subprocess.run(arguments, capture_output=True, check=False).returncode

    for file, expected in ((out / "SHA256SUMS", 0), (tmp_path / "other", 1)):
        assert status("verify-blob", out / "SHA256SUMS.sigstore.json", file) == expected
    for file, expected in ((out / f"cni-chain-{__version__}-image.tar", 0), (tmp_path / "other", 1)):
        assert status("verify-blob-attestation", provenance, file, "--type", "slsaprovenance1") == expected
