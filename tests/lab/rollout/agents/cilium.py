"""Cilium in the lab: wholly its own, or its writer and plugin with a stand-in for the rest of its agent."""

from pathlib import Path

from cni_chain.agents.cilium import CILIUM
from tests.lab.rollout.agents import images
from tests.lab.rollout.agents.release import Release

CONF = Path(__file__).parent / "conf"


def _words(file: str, image: str) -> tuple[str, ...]:
    return "-f", str(CONF / file), "--set", f"image.override={image}"


STAND_IN = Release(
    CILIUM,
    {images.CILIUM_STAND_IN: images.cilium_stand_in},
    _words("cilium-stand-in.yaml", images.CILIUM_STAND_IN),
)
REAL = Release(
    CILIUM,
    {images.CILIUM: images.cilium, images.OPERATOR: images.cilium_operator},
    (*_words("cilium.yaml", images.CILIUM), "--set", f"operator.image.override={images.OPERATOR}"),
)
# Beside a mesh that edits its list in the runtime's directory (Istio's guide for Cilium).
SHARED = ("--set", "cni.exclusive=false")
