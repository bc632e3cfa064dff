"""The order of steps for a live node, there and back, and which of them are done. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from cni_chain.agents import istio
from cni_chain.agents.cilium import CILIUM
from cni_chain.agents.istio import ISTIO
from cni_chain.agents.registry import EDITORS
from cni_chain.checks.fragments import credentials
from cni_chain.migrate import settings
from cni_chain.migrate.plan import LIVE, SWITCHED, Paths
from cni_chain.migrate.scene import Member
from cni_chain.migrate.settings import Setting
from cni_chain.node.conflists import Live


class Step(NamedTuple):
    """One step: what to do, the commands for it, and whether it is done (None: nothing on the node shows that)."""

    id: str
    text: str
    commands: list[str]
    done: bool | None
    remarks: list[str] = []  # noqa: RUF012  # never changed


def following(steps: list[Step]) -> list[Step]:
    """Return the steps to do now: the first that is not done, and those after it until one must be seen to be done."""
    found: list[Step] = []
    for step in steps:
        if step.done is True and not found:
            continue
        if step.done is not True:
            found.append(step)
        if step.done is False:
            break
    return found


def there(
    members: list[Member],
    live: Live,
    paths: Paths,
    state: str,
    *,
    added: Collection[str] = (),
    without: Collection[str] = (),
) -> list[Step]:
    """Return the steps in the order in which no pod loses its network or its mesh.

    `added` are the meshes that come later, `without` those that may be left out.
    """
    left_out = "".join(f" --without {owner}" for owner in without)
    write = "cni-chain migrate write" + "".join(f" --add {owner}" for owner in added) + left_out
    way = _Way(members, live, paths, is_switched=state == SWITCHED)
    return [
        Step(
            "write",
            "Write the fragments, and the facade under a name that no runtime reads." + way.leave_istio(),
            [write],
            state != LIVE,
        ),
        *way.before_switch(),
        Step(
            "switch",
            "Put the facade in place, by one rename.",
            [f"cni-chain migrate switch{left_out}", *way.uncordon()],
            way.is_switched,
        ),
        *way.after_switch(),
        Step(
            "check",
            "Check the node, start a pod, and delete one from before.",
            ["cni-chain doctor"],
            None,
        ),
        Step(
            "clean",
            "Later, when every agent has moved and no pod from before is left: remove the previous list and its copy. "
            "Until then cni-chain migrate undo makes the list active again at once.",
            [f"rm {live.path} {paths.record(live)}"],
            None,
        ),
    ]


class _Way:
    """The parts of the way there."""

    def __init__(self, members: list[Member], live: Live, paths: Paths, *, is_switched: bool) -> None:
        self.members = members
        self.live = live
        self.paths = paths
        self.is_switched = is_switched
        self._settings = {setting.owner: setting for setting in settings.settings(members)}
        self._istio = next((one for one in members if one.agent is ISTIO and not one.added), None)
        self._editors = [one for one in members if one.agent.owner in EDITORS and not one.added]
        self._added = [one for one in members if one.added]

    def leave_istio(self) -> str:
        """Return what must not happen to Istio before the switch, "" without Istio."""
        if self._istio is None:
            return ""
        return " Until the facade is in place don't restart or move Istio: the list in use would lose its plugin."

    def before_switch(self) -> list[Step]:
        """Return the steps for the agents that would take, or edit, a facade that is in place."""
        found = [self._move(one, _early_text(one)) for one in self.members if is_early(one, self.paths.net_dir)]
        if self._istio and not istio.leaves_others_first(self._istio.conf):
            text = (
                f"Istio before 1.27 edits the first file: pin it, cniConfFileName={self.live.name}, still chained. "
                "Don't move it yet: when it stops, it removes its plugin from the list that is still in use."
            )
            found.append(Step("pin-istio", text, [], True if self.is_switched or self._istio.moved else None))
        for one in self._editors:
            text = (
                f"Cordon the node, then move {one.agent.name}: its old agent removes its plugin from the list that is "
                "still in use, so no pod should start on this node until the facade is in place."
            )
            step = self._move(one, text)
            found.append(step._replace(commands=["kubectl cordon NODE", *step.commands]))
        return found

    def uncordon(self) -> list[str]:
        """Return the command after the switch for a node that was cordoned before it."""
        return ["kubectl uncordon NODE"] if self._editors else []

    def after_switch(self) -> list[Step]:
        """Return the steps for the other agents, for a mesh that comes later, and for what a shared list has needed."""
        found = []
        if self._istio:
            found.append(self._move(self._istio, "Move Istio, at once: its agent replaces the copy with its own file."))
        named = {CILIUM.owner, ISTIO.owner, *(one.owner for one in (*self._editors, *self._added))}
        for one in self.members:
            if one.owner in named or is_early(one, self.paths.net_dir):
                continue
            if one.agent.movable:
                found.append(self._move(one, f"Move {one.agent.name}, whenever it suits."))
            else:
                remarks = self._settings[one.owner].remarks
                found.append(Step(f"stay-{one.owner}", f"{one.agent.name} can't be moved.", [], None, remarks))
        for one in self._added:
            found += _to_come(one, self._settings[one.owner])
        meshes = [one for one in self.members if one.agent.mesh and not one.added]
        for one in self.members:
            alone = settings.alone(one.agent) if meshes else None
            if alone is not None:
                values, commands = alone
                text = (
                    f"Whenever it suits, if you had set the opposite for the shared list: {values}. Otherwise "
                    f"{one.agent.name}'s agent writes a deleted fragment again only when its pod restarts."
                )
                found.append(Step(f"alone-{one.owner}", text, commands, None))
        return found

    def _move(self, member: Member, text: str) -> Step:
        setting = self._settings[member.owner]
        return Step(f"move-{member.owner}", text, setting.commands, member.moved, setting.remarks)


def to_come(members: list[Member]) -> list[Step]:
    """Return the steps for the meshes among `members` that are not required yet, or have not written."""
    found: list[Step] = []
    for member, setting in zip(members, settings.settings(members), strict=True):
        if member.agent.mesh and not (member.required and member.writes):
            found += _to_come(member, setting)
    return found


def _to_come(member: Member, setting: Setting) -> list[Step]:
    name = member.agent.name
    is_in_use = member.writes and member.required
    return [
        Step(
            f"install-{member.owner}",
            f"Install {name}, its CNI agent with these values and the rest as its own guide says. (If it is "
            f"installed already, add --reuse-values and its --version.) Its agent writes {member.directory}.",
            setting.commands,
            member.moved or is_in_use or (None if member.writes else False),
            setting.remarks,
        ),
        Step(
            f"require-{member.owner}",
            f"When {name}'s agent has written on this node: no new pod starts outside the mesh any more.",
            [f"cni-chain owner require {member.owner}"],
            is_in_use,
        ),
    ]


def is_early(member: Member, net_dir: str) -> bool:
    """Return whether an agent moves before the switch: Cilium, and agents with a kubeconfig beside the list."""
    if member.added:
        return False
    return member.agent.renames or (member.agent.early and bool(kubeconfig(member, net_dir)))


def kubeconfig(member: Member, net_dir: str) -> str:
    """Return the kubeconfig in the runtime's directory that an agent's plugin reads, "" if it reads none there."""
    paths = (path for _, path in credentials(member.conf))
    return next((path for path in paths if path.startswith(f"{net_dir}/")), "")


def _early_text(member: Member) -> str:
    name = member.agent.name
    text = f"Move {name}. Each node's agent writes {member.directory} when it restarts"
    if member.agent.renames:
        return (
            f"{text}, and no longer writes to the runtime's directory. Running pods go on; a pod that is made while "
            "the agent is away waits, up to half a minute if Cilium's operator taints the node."
        )
    return (
        f"{text}, and only the kubeconfig there is renewed from then on. A pod that is made through the facade before "
        "that keeps the old kubeconfig in its record, and can't be deleted any more when its token has expired."
    )


def back(members: list[Member], live: Live, paths: Paths, *, is_undone: bool) -> list[Step]:
    """Return the steps that roll back, from the facade in place to a node without cni-chain.

    A mesh that was added later is not moved: the list never had it.
    """
    left = f"rm -r {paths.chain_dir} {paths.undone} {paths.record(live)}"
    return [
        Step("undo", "Make the previous list active again, at once.", ["cni-chain migrate undo"], is_undone),
        *(_outside(member) for member in members if member.added and member.writes),
        *moves_back([member for member in members if not member.added], paths.net_dir, live.name),
        Step(
            "uninstall",
            "When the pods that were made through the facade are gone: free their records, and remove cni-chain.",
            ["cni-chain gc", "cni-chain uninstall"],
            None,
        ),
        Step("clean", "Remove what is left.", [left], None),
    ]


def _outside(member: Member) -> Step:
    name = member.agent.name
    text = f"Uninstall {name}, which came later: the list never had its plugin, so new pods are outside its mesh."
    return Step(f"outside-{member.owner}", text, [], None)


def moves_back(members: list[Member], net_dir: str, list_name: str) -> list[Step]:
    """Return the steps that move the agents back to the runtime's directory, once the facade is gone."""
    found = []
    meshes = [member for member in members if member.agent.mesh]
    of = {member.owner: member.agent for member in members}
    for setting in settings.back(members, net_dir, list_name):
        agent = of[setting.owner]
        text = f"Move {agent.name} back to {net_dir}, with the settings that it had before; as a rule:"
        commands = setting.commands
        if agent.renames and meshes:
            text = (
                f"Move {agent.name} back after it. Its agent writes the list anew when it starts, so cordon the node "
                f"until the list has {', '.join(member.agent.type for member in meshes)} again."
            )
            commands = ["kubectl cordon NODE", *commands, "kubectl uncordon NODE"]
        found.append(Step(f"back-{setting.owner}", text, commands, None, setting.remarks))
    return found
