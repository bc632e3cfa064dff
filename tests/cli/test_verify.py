"""`cni-chain verify`: the report, and files that are not in place yet."""

import json
from pathlib import Path

import pytest

from tests.support.files.node import CONF, FACADE, LOCAL, SPEAKS, Node, Result, findings, run
from tests.support.files.schemas import members


@pytest.mark.root
def test_a_node_on_which_all_is_well_is_one_line(node: Node) -> None:
    assert node.run("verify") == Result(0, "4 files checked: 0 errors, 0 warnings\n", "")


@pytest.mark.root
def test_errors_come_before_warnings_and_a_count_comes_last(node: Node) -> None:
    (node.bin_dir / "portmap").unlink()
    node.write("local.d/20-broken.conf", '{"type": "tuning"\n "a": 1}')
    node.change_facade(colour="red")

    missing = "no plugin portmap in /opt/cni/bin; its agent installs it there"
    assert node.run("verify") == Result(
        1,
        f"""\
{LOCAL}/10-portmap.conf:4:3: error [plugin-missing]: local/portmap: {missing}
{LOCAL}/20-broken.conf:2:2: warning [fragment-unusable]: not JSON: Expecting ',' delimiter
{FACADE}:53:4: warning [facade-key-unknown]: key colour: cni-chain doesn't know it
5 files checked: 1 error, 2 warnings
""",
        "",
    )


@pytest.mark.root
def test_json_has_the_same_for_a_program(node: Node) -> None:
    node.change_facade(colour="red", stateDir="here")

    document = members(node.run("verify", "--json").stdout)
    assert [(bool(one.pop("why")), bool(one.pop("do"))) for one in document["findings"]] == [(True, True)] * 2
    assert document == {
        "findings": [
            {
                "id": "facade-key-invalid",
                "severity": "error",
                "owner": None,
                "path": FACADE,
                "line": 54,
                "column": 4,
                "what": "key stateDir: must be an absolute path",
            },
            {
                "id": "facade-key-unknown",
                "severity": "warning",
                "owner": None,
                "path": FACADE,
                "line": 53,
                "column": 4,
                "what": "key colour: cni-chain doesn't know it",
            },
        ],
        "files": 4,
        "errors": 1,
        "warnings": 1,
    }


def test_files_are_checked_by_themselves(program: str, tmp_path: Path) -> None:
    facade = json.loads((CONF / "00-cni-chain.conflist").read_bytes())
    facade["plugins"][0]["logLevel"] = "loud"
    (tmp_path / "facade.new").write_text(json.dumps(facade))
    column = json.dumps(facade).index('"logLevel"') + 1
    (tmp_path / ".10-istio.conf.tmp").write_text(
        '{"type": "istio-cni",\n "ambient_enabled": true, "type": "istio-cni"}'
    )
    (tmp_path / "bad.conf").write_text('{"plugins": [{"type": "a/b"}]}')

    names = ["facade.new", ".10-istio.conf.tmp", "bad.conf", "absent.conf"]
    result = run(program, "verify", *names, cwd=tmp_path)

    assert result.status == 1
    lines = result.stdout.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [
        "absent.conf",
        "bad.conf:1:15",
        f"facade.new:1:{column}",
        ".10-istio.conf.tmp:2:27",
        ".10-istio.conf.tmp:2:27",
    ]
    assert lines[-1] == "4 files checked: 3 errors, 2 warnings"


def test_a_fragment_that_is_fine_may_be_moved_into_place(program: str) -> None:
    result = run(program, "verify", str(CONF / "chain.d/local.d/10-portmap.conf"))

    assert result == Result(0, "1 file checked: 0 errors, 0 warnings\n", "")
    assert findings(run(program, "verify", "--json", str(CONF / "chain.d/local.d/10-portmap.conf"))) == []


def test_a_facade_whose_type_is_misspelt_is_told_before_it_is_in_place(program: str, tmp_path: Path) -> None:
    text = (CONF / "00-cni-chain.conflist").read_text().replace('"cni-chain"', '"cni-chian"')
    (tmp_path / "facade").write_text(text)

    (told,) = findings(run(program, "verify", "--json", "facade", cwd=tmp_path))

    assert told.endswith(": the plugin's type is cni-chian; did you mean cni-chain?")


@pytest.mark.parametrize("command", ["verify", "doctor"])
@pytest.mark.root
def test_a_script_may_take_warnings_for_failures(node: Node, command: str) -> None:
    (node.root / "var/log").mkdir(parents=True)
    node.change_facade(colour="red")

    assert node.run(command).status == 0
    assert node.run(command, "--fail-on", "warning").status == 1
    node.change_facade(remove=("colour",))
    assert node.run(command, "--fail-on", "warning").status == 0
    assert node.run(command, "--fail-on", "never").status == 2


@pytest.mark.root
def test_what_a_plugin_writes_to_stderr_is_not_among_the_findings(node: Node) -> None:
    node.install("portmap", f"{SPEAKS}echo chatter >&2\n")

    result = node.run_here("verify")

    assert (result.status, result.stderr) == (0, "")
