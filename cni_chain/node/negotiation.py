"""The version of CNI in which cni-chain calls each plugin of a chain. Runs plugins (VERSION); changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from cni_chain.node import executables
from cni_chain.node.facades import FacadeFile
from cni_chain.node.progress import Progress, silent
from cni_chain.node.survey import Survey
from cni_chain.plugin import spec
from cni_chain.plugin.chain import Delegate
from cni_chain.plugin.errors import CNIError

_VERSION = "1.0.0"
_AT_ONCE = 32

_Answer = tuple[str, ...] | executables.NoAnswerError


class Spoken:
    """The versions for `links` when the runtime sends `sent`; plugins of another system's tree are not run."""

    def __init__(self, survey: Survey, links: Iterable[Delegate], progress: Progress = silent) -> None:
        self.sent = _sent(survey.file)
        self._survey = survey
        files = [survey.binary(link) for link in links] if survey.tree.is_this_system else []
        self._answers = _ask(
            {file for file in files if not isinstance(file, CNIError)}, ":".join(survey.bin_dirs), progress
        )

    def versions(self, link: Delegate) -> tuple[str, ...] | None:
        """Return the versions that a plugin supports, None if they aren't known."""
        answer = self._answer(link)
        return None if isinstance(answer, executables.NoAnswerError) else answer

    def version(self, link: Delegate) -> str | None:
        """Return the version in which cni-chain calls a plugin, None if it isn't known."""
        versions = self.versions(link)
        if versions is None:
            return None
        return self.sent if self.sent in versions else versions[-1]

    def silence(self, link: Delegate) -> str:
        """Return why a plugin gave no answer, "" if it gave one or wasn't asked."""
        answer = self._answer(link)
        return str(answer) if isinstance(answer, executables.NoAnswerError) else ""

    def _answer(self, link: Delegate) -> _Answer | None:
        file = self._survey.binary(link)
        return None if isinstance(file, CNIError) else self._answers.get(file)


def _sent(file: FacadeFile) -> str:
    """Return the version that newer runtimes pick and send; older ones, without cniVersions, send cniVersion."""
    spoken = [version for version in (file.version, *file.versions) if version in spec.VERSIONS]
    return max(spoken, key=spec.VERSIONS.index, default=_VERSION)


def _ask(files: set[str], path: str, progress: Progress) -> dict[str, _Answer]:
    """Ask all plugins at the same time, so that several that hang take no longer than one."""
    if not files:
        return {}
    with ThreadPoolExecutor(min(len(files), _AT_ONCE)) as threads, progress("asking", len(files)) as step:
        awaited = {file: threads.submit(_versions, file, path) for file in sorted(files)}
        answers: dict[str, _Answer] = {}
        for file, answer in awaited.items():
            step(os.path.basename(file))
            answers[file] = answer.result()
    return answers


def _versions(file: str, path: str) -> _Answer:
    try:
        return executables.versions(file, path)
    except executables.NoAnswerError as error:
        return error
