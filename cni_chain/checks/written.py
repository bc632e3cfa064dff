"""The rules about one file, for a facade or a fragment that is not in place yet. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from cni_chain.agents.istio import lacks_retry
from cni_chain.checks import facade, fragments, registry
from cni_chain.checks.mistaken import MISSPELT, misspelt_type
from cni_chain.checks.owners import UNUSABLE
from cni_chain.checks.rule import Finding
from cni_chain.node import facades, locate
from cni_chain.node.errors import UnreadableError
from cni_chain.node.facades import FacadeFile
from cni_chain.node.locate import Locator, Place
from cni_chain.plugin.fragments import Fragment, parse


def look(path: str) -> list[Finding]:
    """Return what is wrong with the file `path` alone: a facade if it has a plugin cni-chain, else a fragment."""
    try:
        with open(path, "rb") as file:
            content = file.read()
        document, locator = locate.decode(content)
    except OSError as error:
        return [UNUSABLE.at(path, f"can't be read: {error.strerror}", why=_WHY)]
    except UnreadableError as error:
        return [UNUSABLE.at(Place(path, error.at), str(error), why=_WHY)]
    if facades.is_facade(document):
        return registry.of_facade(FacadeFile(path, document, locator))
    found = list(_fragment(path, document, locator))
    if nearly := facades.nearly_facade(document):
        found.append(MISSPELT.at(Place(path, locator.find(nearly[0])), misspelt_type(nearly[1])))
    return found


_WHY = "Neither a runtime nor cni-chain can use such a file."


def _fragment(path: str, document: dict[str, object], locator: Locator) -> Iterator[Finding]:
    yield from facade.duplicates(path, locator)
    fragment = parse(path, document)
    if not isinstance(fragment, Fragment):
        for fault in fragment:
            place = Place(path, locator.find(fault.key) if fault.key else None)
            yield UNUSABLE.at(place, fault.text, why=_WHY)
        return
    for index, conf in enumerate(fragment.plugins):
        if lacks_retry(conf):
            key = f"plugins[{index}].type" if "plugins" in locator else "type"
            yield fragments.WITHOUT_RETRY.at(Place(path, locator.find(key)), fragments.NO_RETRY)
