"""One call of cni-chain: its request, the chain as it is on disk, and what carries the request out."""

from __future__ import annotations

from cni_chain.plugin.errors import io_error
from cni_chain.plugin.facade import Owner
from cni_chain.plugin.invoke import Invoker
from cni_chain.plugin.records import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.chain import OwnerChain
    from cni_chain.plugin.delegate import Execute
    from cni_chain.plugin.log import Log
    from cni_chain.plugin.request import Request


class CurrentChain:
    """The chain of one request's facade. It reads the disk each time, except for the list of owners."""

    def __init__(self, request: Request, log: Log) -> None:
        self.chain_dir = request.facade.chain_dir
        self._request = request
        self._log = log
        self._owners: list[Owner] | None = None
        self._known = False

    def owners(self) -> list[Owner]:
        """Return the owners in order. Raises CNIError 5.

        If nothing lists them (the facade of a DEL is faulty), each directory in the chain's directory is an owner's.
        """
        listed = self._listed()
        if listed is not None:
            return listed
        from cni_chain.plugin import chain, fragments  # most DELs need only the record

        try:
            names, _ = fragments.owner_names(self.chain_dir)
        except OSError as error:
            raise io_error(error, self.chain_dir) from None
        return chain.owners(self._request.facade, names)

    def owner(self, name: str) -> Owner | None:
        """Return the current owner of that name, None if the facade doesn't list it."""
        listed = self._listed()
        return Owner(name) if listed is None else next((owner for owner in listed if owner.name == name), None)

    def _listed(self) -> list[Owner] | None:
        """Return the facade's owners, None if nothing lists them. DEL and GC read the facade on disk first."""
        if not self._known:
            self._known = True
            request = self._request
            self._owners = request.facade.owners
            if request.args.command in ("DEL", "GC"):
                from cni_chain.plugin import policy

                unsafe, sent = request.facade.allow_unsafe, request.conf.get("owners")
                on_disk = policy.owners_on_disk(
                    request.network, self.chain_dir, sent, self._log.note, allow_unsafe=unsafe
                )
                self._owners = on_disk or self._owners
        return self._owners

    def owner_chain(self, owner: Owner, *, wait: bool = True, exempt: bool = True) -> OwnerChain:
        """Return what one owner contributes now.

        With `wait`, an agent that is writing a file gets a short time to finish; with `exempt`, an owner that exempts
        the request's pod contributes nothing.
        """
        from cni_chain.plugin import chain, fragments

        pod = self._request.args.pod() if exempt else ("", "")
        directory = fragments.Directory(owner.name, self.chain_dir)
        if not owner.exempts(pod):
            unsafe, seconds = self._request.facade.allow_unsafe, fragments.HALF_WRITTEN if wait else 0
            directory = fragments.read(owner.name, self.chain_dir, allow_unsafe=unsafe, wait=seconds)
        return chain.resolve([owner], [directory], pod)[0]

    def owner_chains(self) -> list[OwnerChain]:
        """Return what each owner contributes now, in order."""
        return [self.owner_chain(owner) for owner in self.owners()]


class Call:
    """A request, and the objects that carry it out: each attribute is one concern, passed on to the code that needs it.

    `executor` replaces `delegate.execute`; `limit` describes the deadline if it is not the verb's.
    """

    def __init__(self, request: Request, log: Log, executor: Execute | None = None, limit: str = "") -> None:
        facade = request.facade
        self.request = request
        self.log = log
        self.state = State(facade.state_dir, allow_unsafe=facade.allow_unsafe)
        self.chain = CurrentChain(request, log)
        self.invoker = Invoker(request, self.chain.owner, self.state, log, executor, limit)
