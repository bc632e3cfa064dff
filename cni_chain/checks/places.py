"""The places in a facade's file and its fragments' files that findings name. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from cni_chain.node import locate
from cni_chain.node.errors import UnreadableError
from cni_chain.node.locate import Locator, Place
from cni_chain.node.survey import Survey
from cni_chain.plugin.chain import Delegate, SkippedPlugin
from cni_chain.plugin.facade import Owner
from cni_chain.plugin.fragments import BROKEN, Fault


class Places:
    """The places of one survey's facade, owners, fragments and links."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey
        self._locators: dict[str, Locator | UnreadableError] = {}

    def facade(self, key: str) -> Place:
        """Return the place of a key of cni-chain's own object."""
        file = self._survey.file
        return Place(file.path, file.find(file.where + key))

    def owner(self, owner: Owner, key: str = "name") -> Place:
        """Return the place of an owner's key, of cni-chain's object if the facade doesn't list the owner."""
        listed = self._survey.facade.owners or []
        index = next((index for index, other in enumerate(listed) if other is owner), None)
        return self.facade("type" if index is None else f"owners[{index}].{key}")

    def link(self, link: Delegate, key: str = "type") -> Place:
        """Return the place of a key of one link's PluginConf."""
        plugins = next(fragment.plugins for fragment in self._survey.fragments if fragment.path == link.path)
        return self._plugin(link.path, next(i for i, plugin in enumerate(plugins) if plugin is link.conf), key)

    def dropped(self, dropped: SkippedPlugin) -> Place:
        """Return the place of a plugin that doesn't run."""
        plugins = next(fragment.plugins for fragment in self._survey.fragments if fragment.path == dropped.path)
        types = [plugin["type"] for plugin in plugins]
        return self._plugin(dropped.path, types.index(dropped.type), "type")

    def is_list(self, path: str) -> bool:
        """Return whether a fragment's file is a list of plugins; a file that an agent just rewrote counts as one."""
        locator = self._locator(path)
        return isinstance(locator, UnreadableError) or "plugins" in locator

    def fault(self, fault: Fault) -> tuple[Place, str]:
        """Return where a fault of a directory is, and what it is; text that isn't JSON gets line and column."""
        locator = self._locator(fault.path)
        if not isinstance(locator, UnreadableError):
            return Place(fault.path, locator.find(fault.key) if fault.key else None), fault.text
        if fault.kind == BROKEN:
            return Place(fault.path, locator.at), str(locator)
        return Place(fault.path), fault.text

    def duplicates(self, path: str) -> Iterator[tuple[str, Place]]:
        """Yield the keys that one object of a fragment's file has twice, and the place of the one that is used."""
        locator = self._locator(path)
        if not isinstance(locator, UnreadableError):
            yield from ((key, Place(path, locator.find(key))) for key in locator.duplicates)

    def _plugin(self, path: str, index: int, key: str) -> Place:
        locator = self._locator(path)
        if isinstance(locator, UnreadableError):  # an agent rewrote it after the survey
            return Place(path)
        return Place(path, locator.find(f"plugins[{index}].{key}" if "plugins" in locator else key))

    def _locator(self, path: str) -> Locator | UnreadableError:
        if path not in self._locators:
            try:
                self._locators[path] = locate.decode(self._survey.content(path))[1]
            except UnreadableError as error:
                self._locators[path] = error
            except OSError as error:
                self._locators[path] = UnreadableError(f"can't be read: {error.strerror}")
        return self._locators[path]
