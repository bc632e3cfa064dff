"""`cni-chain show`: what runs for a new pod, and what doesn't and why."""

import json
from pathlib import Path

import pytest

from tests.support.files.node import CONF, FACADE, SPEAKS, Json, Node, Result, run
from tests.support.files.schemas import members

HEADING = """\
network cilium  /etc/cni/net.d/00-cni-chain.conflist
  sorts first in /etc/cni/net.d; neither containerd nor CRI-O is installed here

#  OWNER   PLUGIN      FILE
1  cilium  cilium-cni  cilium.d/05-cilium.conflist  required
"""
ISTIO = "2  istio   istio-cni   istio.d/10-istio.conf        required, not for istio-system/istio-cni-node-*\n"


def local(number: int) -> str:
    return f"{number}  local   portmap     local.d/10-portmap.conf      optional, portMappings\n"


def test_a_chain_that_can_run_is_a_line_a_plugin(node: Node) -> None:
    expected = f"{HEADING}{ISTIO}{local(3)}\nA new pod runs 3 plugins.\n"

    assert node.run("show") == Result(0, expected, "")


def test_a_required_owner_without_a_fragment_says_what_a_pod_gets(node: Node) -> None:
    node.clear("istio")

    assert node.run("show") == Result(
        1,
        f"""{HEADING}\
!  istio   -           -                            required, not for istio-system/istio-cni-node-*
   error 11: waiting for istio's CNI configuration in /etc/cni/chain.d/istio.d; is its agent
   (istio-cni-node) running on this node? (there: cni-chain status)
{local(2)}
A new pod gets error 11 and no network: see above
""",
        "",
    )


def test_an_optional_owner_without_a_fragment_is_no_problem(node: Node) -> None:
    node.clear("local")

    assert node.run("show") == Result(
        0,
        f"{HEADING}{ISTIO}-  local   -           -                            optional\n\nA new pod runs 2 plugins.\n",
        "",
    )


def test_a_fragment_at_fault_is_told_where_its_owner_is(node: Node) -> None:
    node.write("local.d/10-portmap.conf", '{"type": "portmap",')
    node.write("cilium.d/05-cilium.conflist", {"plugins": [{"type": "../evil"}]})

    result = node.run("show")

    assert result.status == 1
    assert (
        result.stdout
        == """\
network cilium  /etc/cni/net.d/00-cni-chain.conflist
  sorts first in /etc/cni/net.d; neither containerd nor CRI-O is installed here

#  OWNER   PLUGIN     FILE
!  cilium  -          -                      required
   error 7: cilium's CNI configuration is refused: /etc/cni/chain.d/cilium.d/05-cilium.conflist: key
   plugins[0].type: '../evil' must be a plain file name
1  istio   istio-cni  istio.d/10-istio.conf  required, not for istio-system/istio-cni-node-*
-  local   -          -                      optional
   left out: /etc/cni/chain.d/local.d/10-portmap.conf: not JSON: Expecting property name enclosed in
   double quotes: line 1 column 20 (char 19)

A new pod gets error 7 and no network: see above
"""
    )


def test_a_missing_executable_is_told_where_its_plugin_is(node: Node) -> None:
    (node.bin_dir / "istio-cni").unlink()

    assert node.run("show") == Result(
        1,
        f"""{HEADING}!{ISTIO[1:]}\
   error 11: istio/istio-cni: no plugin istio-cni in /opt/cni/bin; its agent installs it there
{local(3)}
A new pod gets error 11 and no network: see above
""",
        "",
    )


def test_what_an_owner_may_not_contribute_is_listed(node: Node) -> None:
    node.write("cilium.d/05-cilium.conflist", (CONF / "examples/cilium/1.14-portmap.conflist").read_text())

    assert node.run("show") == Result(
        0,
        f"""{HEADING}{ISTIO}{local(3)}
Left out:
  cilium.d/05-cilium.conflist: portmap: not one of the types that cilium may contribute

A new pod runs 3 plugins.
""",
        "",
    )


def crowd(node: Node) -> None:
    """Put into chain.d what nobody should take for a part of the chain."""
    node.write("local.d/20-portmap.conf", {"type": "portmap"})
    node.write("local.d/30-old.conf.bak", {})
    node.write("istio.d/ZZZ-istio-cni-kubeconfig", {})
    node.write("mesh.d/10-mesh.conf", {"type": "mesh"})
    (node.chain_dir / "README").touch()


def test_what_is_ignored_is_counted(node: Node) -> None:
    crowd(node)

    assert node.run("show") == Result(
        0,
        f"{HEADING}{ISTIO}{local(3)}\n5 more ignored (--all lists them)\n\nA new pod runs 3 plugins.\n",
        "",
    )


def test_what_is_ignored_is_listed_with_all(node: Node) -> None:
    crowd(node)

    assert node.run("show", "--all") == Result(
        0,
        f"""{HEADING}{ISTIO}{local(3)}
Ignored:
  local.d/20-portmap.conf: portmap: /etc/cni/chain.d/local.d/10-portmap.conf has it first
  istio.d/ZZZ-istio-cni-kubeconfig: credentials (*kubeconfig*)
  local.d/30-old.conf.bak: doesn't end in .conf, .conflist or .json
  README: not named <owner>.d
  mesh.d: a directory that the facade doesn't list as an owner

A new pod runs 3 plugins.
""",
        "",
    )


def test_a_facade_without_owners_gives_no_pod_a_network(node: Node) -> None:
    node.change_facade(remove=("owners",))

    result = node.run("show")

    assert result.status == 1
    assert result.stdout.endswith(
        """\
1  cilium  cilium-cni  cilium.d/05-cilium.conflist  not listed
2  istio   istio-cni   istio.d/10-istio.conf        not listed
3  local   portmap     local.d/10-portmap.conf      not listed, portMappings

A new pod gets error 7 and no network: cni-chain's own configuration of network cilium is invalid:
key owners: missing: list the owners; without them no plugin is required (on the node: cni-chain
verify)
"""
    )


def test_a_key_that_is_misspelt_is_told_though_pods_get_a_network(node: Node) -> None:
    node.change_facade(chaindir="/etc/cni/other.d")

    result = node.run("show")

    assert result.status == 1
    assert result.stdout.endswith(
        """
A new pod runs 3 plugins, but with errors: key chaindir: unknown key; did you mean chainDir?
[facade-key-misspelt]
"""
    )
    (facade,) = node.json("show")["facades"]
    assert (facade["newPod"], facade["problems"]) == (None, ["key chaindir: unknown key; did you mean chainDir?"])


def test_a_facade_with_a_fault_is_refused_as_the_plugin_refuses_it(node: Node) -> None:
    node.change_facade(logLevel="loud", stateDir="here")

    result = node.run("show")

    assert result.status == 1
    assert result.stdout.endswith("""
A new pod gets error 7 and no network: cni-chain's own configuration of network cilium is invalid:
key stateDir: must be an absolute path; key logLevel: must be one of error, info, debug (on the
node: cni-chain verify)
""")


def places(node: Node) -> list[str]:
    """The lines of `show` about which runtime takes the facade."""
    return [line.strip() for line in node.run("show").stdout.partition("\n\n")[0].splitlines()[1:]]


def has(node: Node, *programs: str) -> None:
    (node.root / "usr/bin").mkdir(parents=True, exist_ok=True)
    for program in programs:
        (node.root / "usr/bin" / program).touch()


def test_only_a_runtime_that_is_installed_takes_the_facade(node: Node) -> None:
    assert places(node) == ["sorts first in /etc/cni/net.d; neither containerd nor CRI-O is installed here"]

    has(node, "crio")
    assert places(node) == ["CRI-O takes this file: it sorts first in /etc/cni/net.d of those that can be used"]

    has(node, "containerd")
    assert places(node)[0] == "containerd takes this file: it sorts first in /etc/cni/net.d"
    assert len(places(node)) == 2


def test_a_facade_behind_another_file_says_which_one_a_runtime_takes(node: Node) -> None:
    (node.net_dir / "00-bridge.conf").write_text('{"type": "bridge", "name": "bridge"}')

    assert places(node) == [
        "sorts behind /etc/cni/net.d/00-bridge.conf; neither containerd nor CRI-O is installed here"
    ]

    has(node, "containerd")
    assert places(node) == ["containerd takes another file, /etc/cni/net.d/00-bridge.conf: it sorts first"]


def test_a_facade_that_is_not_in_place_yet_can_be_looked_at(node: Node) -> None:
    node.facade.rename(node.root / "facade")

    result = node.run("show", "--conf", "/facade")

    assert result.status == 0
    assert result.stdout.startswith("""\
network cilium  /facade
  not in /etc/cni/net.d: no runtime takes this file
""")


def test_paths_are_the_same_whatever_leads_to_the_tree(node: Node) -> None:
    node.clear("istio")
    link = node.root.parent / "link"
    link.symlink_to(node.root)

    direct = node.run("show")

    for root in (str(link), f"{link}/", f"{node.root}/etc/.."):
        assert run(node.program, "show", "--root", root) == direct


def test_facades_stand_side_by_side_and_one_can_be_named(node: Node) -> None:
    second = json.loads(node.facade.read_bytes()) | {"name": "storage"}
    (node.net_dir / "10-storage.conflist").write_text(json.dumps(second))

    both = node.run("show").stdout
    one = node.run("show", "--conf", "/etc/cni/net.d/10-storage.conflist").stdout

    assert [line.split()[1] for line in both.splitlines() if line.startswith("network")] == ["cilium", "storage"]
    assert both.endswith("\n\n" + one)


def test_in_a_pipe_a_plugin_is_one_line_whatever_there_is_to_say_of_it(node: Node) -> None:
    exempt = [{"namespace": f"mesh-system-{number}", "podNamePrefix": "node-agent-"} for number in range(4)]
    node.change_owner("local", exempt=exempt)
    node.write("local.d/90-a-file-with-quite-a-long-name-as-some-agents-write.conf", {"type": "tuning-of-something"})
    node.install("tuning-of-something")

    result = node.run("show")

    assert result.status == 0
    (line,) = [line for line in result.stdout.splitlines() if "portmap" in line]
    assert line.count("not for mesh-system-") == 4


def test_nothing_in_a_name_moves_the_terminals_cursor(node: Node) -> None:
    node.write("local.d/20-\x1b[2J\n.conf", {"type": "portmap"})

    assert r"20-\x1b[2J\n.conf" in node.run("show", "--all").stdout


def test_without_a_facade_it_says_where_it_looked(node: Node) -> None:
    node.facade.unlink()

    expected = "cni-chain: /etc/cni/net.d: no facade here: no file has a plugin of type cni-chain\n"
    assert node.run("show") == Result(1, "", expected)


@pytest.mark.parametrize("command", [["show"], ["cat"], ["owner", "list"], ["owner", "remove", "istio"]])
def test_a_facade_that_can_not_be_read_is_named_with_the_place(node: Node, command: list[str]) -> None:
    node.facade.write_text('{"name": "cilium"')

    told = f"; {FACADE}:1:18: not JSON: Expecting ',' delimiter\n"
    assert node.run(*command).stderr.endswith(told)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"name": "a"\n}}', "/facade:2:2: not JSON: Extra data"),
        ('{"type": "bridge"}', "/facade: is not a facade: it has no plugin of type cni-chain"),
        (None, "/facade: can't be read: No such file or directory"),
    ],
)
def test_a_named_facade_that_is_none_is_told(node: Node, content: str | None, message: str) -> None:
    if content is not None:
        (node.root / "facade").write_text(content)

    assert node.run("show", "--conf", "/facade") == Result(1, "", f"cni-chain: {message}\n")


def test_json_has_everything(node: Node) -> None:
    node.clear("istio")
    crowd(node)
    message = (
        "waiting for istio's CNI configuration in /etc/cni/chain.d/istio.d; is its agent "
        "(istio-cni-node) running on this node? (there: cni-chain status)"
    )
    cilium: Json = {
        "owner": "cilium",
        "type": "cilium-cni",
        "file": "/etc/cni/chain.d/cilium.d/05-cilium.conflist",
        "binary": "/opt/cni/bin/cilium-cni",
        "cniVersion": None,
        "capabilities": [],
        "disableCheck": False,
        "disableGC": False,
    }
    portmap = cilium | {
        "owner": "local",
        "type": "portmap",
        "file": "/etc/cni/chain.d/local.d/10-portmap.conf",
        "binary": "/opt/cni/bin/portmap",
        "capabilities": ["portMappings"],
    }
    document = members(node.run("show", "--json").stdout)
    owners = document["facades"][0].pop("owners")
    (error,) = document["facades"][0].pop("errors")

    assert error == json.loads(node.run("doctor", "--json").stdout)["findings"][0]
    assert (error["id"], error["owner"]) == ("owner-without-fragment", "istio")
    assert document["facades"][0].pop("capabilities") == list(
        json.loads((CONF / "00-cni-chain.conflist").read_bytes())["plugins"][0]["capabilities"]
    )
    assert document == {
        "netDir": "/etc/cni/net.d",
        "first": "/etc/cni/net.d/00-cni-chain.conflist",
        "facades": [
            {
                "file": "/etc/cni/net.d/00-cni-chain.conflist",
                "first": True,
                "network": "cilium",
                "cniVersion": "1.0.0",
                "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
                "chainDir": "/etc/cni/chain.d",
                "stateDir": "/var/lib/cni/chain",
                "logFile": "/var/log/cni-chain.log",
                "timeouts": {"ADD": 110.0, "DEL": 50.0, "CHECK": 35.0, "GC": 25.0, "STATUS": 2.0},
                "problems": [],
                "newPod": {"code": 11, "msg": message},
                "chain": [cilium | {"order": 1}, portmap | {"order": 2}],
                "dropped": [
                    {
                        "owner": "local",
                        "file": "/etc/cni/chain.d/local.d/20-portmap.conf",
                        "type": "portmap",
                        "reason": "/etc/cni/chain.d/local.d/10-portmap.conf has it first",
                    }
                ],
                "ignored": [
                    {
                        "file": "/etc/cni/chain.d/istio.d/ZZZ-istio-cni-kubeconfig",
                        "reason": "credentials (*kubeconfig*)",
                    },
                    {
                        "file": "/etc/cni/chain.d/local.d/30-old.conf.bak",
                        "reason": "doesn't end in .conf, .conflist or .json",
                    },
                    {"file": "/etc/cni/chain.d/README", "reason": "not named <owner>.d"},
                ],
                "unlisted": ["/etc/cni/chain.d/mesh.d"],
            }
        ],
    }
    assert [owner["name"] for owner in owners] == ["cilium", "istio", "local"]
    assert owners[1] == {
        "name": "istio",
        "directory": "/etc/cni/chain.d/istio.d",
        "required": True,
        "types": ["istio-cni"],
        "exempt": [{"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}],
        "duplicates": "first",
        "onDelError": "retry",
        "timeoutSeconds": None,
        "usable": False,
        "error": {"code": 11, "msg": message},
        "faults": [],
        "plugins": [],
    }


def table(result: Result) -> str:
    """The lines from the table to the end."""
    return result.stdout[result.stdout.index("#  OWNER") :]


def test_the_version_that_a_plugin_is_spoken_to_in_is_a_column(node: Node) -> None:
    node.install("portmap", SPEAKS.replace('"1.0.0"]', '"1.0.0", "1.1.0"]'))
    node.install("istio-cni", SPEAKS.replace(', "1.0.0"]', "]"))

    told = node.run_here("show")

    assert (told.status, told.stderr) == (0, "")
    assert (
        table(told)
        == """\
#  OWNER   PLUGIN      CNI    FILE
1  cilium  cilium-cni  1.0.0  cilium.d/05-cilium.conflist  required
2  istio   istio-cni   0.4.0  istio.d/10-istio.conf        required, not for istio-system/istio-cni-node-*
3  local   portmap     1.1.0  local.d/10-portmap.conf      optional, portMappings

A new pod runs 3 plugins.
"""
    )
    assert not (node.root / "var").exists()


def test_the_version_is_told_to_programs_wherever_a_plugin_is(node: Node) -> None:
    node.install("portmap", SPEAKS.replace('"1.0.0"]', '"1.0.0", "1.1.0"]'))

    (facade,) = json.loads(node.run_here("show", "--json").stdout)["facades"]

    expected = [("cilium-cni", "1.0.0"), ("istio-cni", "1.0.0"), ("portmap", "1.1.0")]
    assert [(link["type"], link["cniVersion"]) for link in facade["chain"]] == expected
    assert [(one["type"], one["cniVersion"]) for owner in facade["owners"] for one in owner["plugins"]] == expected


def test_it_is_the_one_that_the_facade_has_if_a_plugin_speaks_more(node: Node) -> None:
    node.install("portmap", SPEAKS.replace('"1.0.0"]', '"1.0.0", "1.1.0"]'))
    node.change_facade(remove=("cniVersions",))

    (facade,) = json.loads(node.run_here("show", "--json").stdout)["facades"]

    assert [link["cniVersion"] for link in facade["chain"]] == ["1.0.0"] * 3


def test_a_plugin_that_is_missing_or_silent_has_no_version(node: Node) -> None:
    (node.bin_dir / "cilium-cni").unlink()
    silent = node.install("istio-cni", "#!/bin/sh\nexit 3\n")

    lines = table(node.run_here("show")).splitlines()

    assert [line.split()[:5] for line in lines if line[:1] in "#!23" and line[:1].strip()] == [
        ["#", "OWNER", "PLUGIN", "CNI", "FILE"],
        ["!", "cilium", "cilium-cni", "-", "cilium.d/05-cilium.conflist"],
        ["2", "istio", "istio-cni", "-", "istio.d/10-istio.conf"],
        ["3", "local", "portmap", "1.0.0", "local.d/10-portmap.conf"],
    ]
    assert f"{silent}, asked for its versions: " in " ".join(line.strip() for line in lines)


def test_a_plugin_that_hangs_holds_nobody_up_for_long(node: Node) -> None:
    node.install("istio-cni", "#!/bin/sh\nexec sleep 1000\n")

    told = node.run_here("show")

    rows = [line.split()[1:4] for line in table(told).splitlines() if line[:1].isdigit()]
    assert rows == [["cilium", "cilium-cni", "1.0.0"], ["istio", "istio-cni", "-"], ["local", "portmap", "1.0.0"]]
    assert "did not end in time and was killed (5 s): look at" in " ".join(told.stdout.split())


def test_plugins_are_asked_side_by_side(node: Node) -> None:
    """Each answers only once all have been asked."""
    names = ("cilium-cni", "istio-cni", "portmap")
    waits = "".join(f'until [ -e "{node.root}/{name}" ]; do sleep 0.01; done\n' for name in names)
    for name in names:
        node.install(name, SPEAKS.replace("\n", f'\n: > "{node.root}/{name}"\n{waits}', 1))

    (facade,) = json.loads(node.run_here("show", "--json").stdout)["facades"]

    assert [link["cniVersion"] for link in facade["chain"]] == ["1.0.0"] * 3


@pytest.mark.root
def test_a_fragment_that_others_can_write_is_refused(node: Node) -> None:
    path = Path(node.chain_dir / "istio.d/10-istio.conf")
    path.chmod(0o666)

    (facade,) = node.json("show")["facades"]

    assert facade["newPod"]["code"] == 7
    assert [fault["message"] for fault in facade["owners"][1]["faults"]] == [
        "mode 0666: writable by users other than root (chmod go-w)"
    ]


def test_a_plugin_beside_cni_chain_is_shown_and_counted_and_one_that_runs_twice_is_named(node: Node) -> None:
    plugins = json.loads(node.facade.read_bytes())["plugins"]
    node.change_facade(of_list={"plugins": [*plugins, {"type": "istio-cni"}]})

    result = node.run("show")

    assert result.status == 1
    assert "\n!  -       istio-cni   00-cni-chain.conflist        beside cni-chain\n" in result.stdout
    assert "\nA new pod runs 4 plugins, but with errors: istio-cni beside cni-chain" in result.stdout
    assert any("istio-cni runs twice for a pod: the facade has it, and " in finding for finding in node.findings())


def test_a_facade_that_cilium_has_renamed_is_named_by_show_too(node: Node) -> None:
    node.facade.rename(node.facade.with_name(f"{node.facade.name}.cilium_bak"))

    assert node.run("show").stderr.endswith(
        f"; {FACADE}.cilium_bak: Cilium's agent has renamed the facade 00-cni-chain.conflist [facade-renamed]\n"
    )
