"""The version of CNI in which cni-chain calls each plugin of a chain. Runs plugins (VERSION); changes nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

from cni_chain.node import executables
from cni_chain.node.executables import Answer
from cni_chain.node.progress import Progress, silent
from cni_chain.node.survey import Survey
from cni_chain.plugin.chain import Delegate
from cni_chain.plugin.errors import CNIError

_NOT_ASKED = Answer(None)


class Spoken:
    """The versions for `links` when the runtime sends `sent`; plugins of another system's tree are not run."""

    def __init__(self, survey: Survey, links: Iterable[Delegate], progress: Progress = silent) -> None:
        self.sent = survey.file.sent
        self._survey = survey
        files = [survey.binary(link) for link in links] if survey.tree.is_this_system else []
        self._answers = _ask(
            {file for file in files if not isinstance(file, CNIError)}, ":".join(survey.bin_dirs), progress
        )

    def versions(self, link: Delegate) -> tuple[str, ...] | None:
        """Return the versions that a plugin supports, None if they aren't known."""
        return self._answer(link).versions

    def version(self, link: Delegate) -> str | None:
        """Return the version in which cni-chain calls a plugin, None if it isn't known."""
        versions = self.versions(link)
        if versions is None:
            return None
        return self.sent if self.sent in versions else versions[-1]

    def silence(self, link: Delegate) -> str:
        """Return why a plugin gave no answer, "" if it gave one or wasn't asked."""
        return self._answer(link).failure

    def _answer(self, link: Delegate) -> Answer:
        file = self._survey.binary(link)
        return _NOT_ASKED if isinstance(file, CNIError) else self._answers.get(file, _NOT_ASKED)


def _ask(files: set[str], path: str, progress: Progress) -> dict[str, Answer]:
    """Ask all plugins at the same time, so that several that hang take no longer than one."""
    if not files:
        return {}
    answers: dict[str, Answer] = {}

    def ask(file: str) -> None:
        answers[file] = executables.versions(file, path)

    threads = {file: threading.Thread(target=ask, args=(file,)) for file in sorted(files)}
    with progress("asking", len(files)) as step:
        for thread in threads.values():
            thread.start()
        for file, thread in threads.items():
            step(os.path.basename(file))
            thread.join()
    return {file: answers[file] for file in threads}
