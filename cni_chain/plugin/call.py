"""One call of cni-chain: its request, the chain as that finds it on disk, and what carries it out."""

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
    """The chain of one request's facade. What is on disk is read anew each time, but for who the owners are."""

    def __init__(self, request: Request, log: Log) -> None:
        self.chain_dir = request.facade.chain_dir
        self._request = request
        self._log = log
        self._owners: list[Owner] | None = None
        self._known = False

    def owners(self) -> list[Owner]:
        """Return the owners in order. Raises CNIError 5.

        If nothing says who is listed (a DEL's faulty facade), whoever has a directory is an owner.
        """
        listed = self._listed()
        if listed is not None:
            return listed
        from cni_chain.plugin import chain, fragments  # the records say what to undo, so most DELs do without

        try:
            names, _ = fragments.owner_names(self.chain_dir)
        except OSError as error:
            raise io_error(error, self.chain_dir) from None
        return chain.owners(self._request.facade, names)

    def owner(self, name: str) -> Owner | None:
        """Return today's owner of that name, None if the facade lists others."""
        listed = self._listed()
        return Owner(name) if listed is None else next((owner for owner in listed if owner.name == name), None)

    def _listed(self) -> list[Owner] | None:
        """Return the facade's owners, None if nothing says who they are. DEL and GC ask the facade on disk first."""
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

        With `wait`, whoever writes a file at this moment gets a little time; with `exempt`, an owner that exempts the
        request's pod contributes nothing.
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
    """A request, and what it is carried out with: each attribute is one concern, to be passed on to who needs it.

    `executor` takes the place of `delegate.execute`; `limit` says whose deadline it is, if not the verb's.
    """

    def __init__(self, request: Request, log: Log, executor: Execute | None = None, limit: str = "") -> None:
        facade = request.facade
        self.request = request
        self.log = log
        self.state = State(facade.state_dir, allow_unsafe=facade.allow_unsafe)
        self.chain = CurrentChain(request, log)
        self.invoker = Invoker(request, self.chain.owner, self.state, log, executor, limit)
