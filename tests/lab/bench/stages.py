"""stages.py CHECKOUT FILE: carry out the call that the environment asks for, and append how long each stage took.

A script for a fresh interpreter. Every stage's time is its own: what it calls and is a stage itself is not in it.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

IMPORTS = (
    ("errors", "system", "__main__"),
    ("spec", "protocol"),
    ("jsontext",),
    ("facade", "log"),
    ("results", "answer"),
    ("fragments", "chain"),
    ("delegate",),
    ("record", "locks", "records", "request"),
    ("invoke", "call", "delete", "add"),
)
# module, class, function, stage
STAGES = (
    ("protocol", "", "_read_conf", "request read"),
    ("facade", "", "parse", "facade's keys"),
    ("call", "CurrentChain", "owner_chains", "fragments read"),
    ("invoke", "Invoker", "find", "delegates found"),
    ("invoke", "Invoker", "supported_versions", "versions remembered"),
    ("records", "State", "lock", "lock"),
    ("records", "State", "has_record", "record looked for or read"),
    ("records", "State", "load", "record looked for or read"),
    ("records", "State", "begin", "record written"),
    ("records", "", "_sync", "record's directory synced"),
    ("system", "", "fdatasync", "record synced"),
    ("records", "State", "update", "record appended to"),
    ("records", "State", "remove", "record removed"),
    ("invoke", "Invoker", "_run", "request derived"),
    ("delegate", "_Running", "__init__", "pipes"),
    ("delegate", "", "_spawn", "delegate started"),
    ("delegate", "_Running", "exchange", "waited for delegate"),
    ("delegate", "_Running", "end", "delegate reaped"),
    ("answer", "", "added", "answer judged"),
    ("log", "Log", "write", "log"),
    ("protocol", "", "_answer", "answered"),
)

spent: dict[str, float] = {}
_inner: list[float] = []


def staged(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        _inner.append(0.0)
        try:
            return function(*arguments, **named)
        finally:
            took = time.perf_counter() - start
            spent[stage] = spent.get(stage, 0.0) + took - _inner.pop()
            if _inner:
                _inner[-1] += took

    return timed


def main() -> int:
    checkout, file = sys.argv[1:]
    sys.path.insert(0, checkout)
    modules: dict[str, Any] = {}
    for names in IMPORTS:
        start = time.perf_counter()
        for name in names:
            path = f"cni_chain.{name}" if name == "__main__" else f"cni_chain.plugin.{name}"
            __import__(path)
            modules[name] = sys.modules[path]
        spent[f"import {', '.join(names)}"] = time.perf_counter() - start
    for module, owner, name, stage in STAGES:
        holder = getattr(modules[module], owner) if owner else modules[module]
        setattr(holder, name, staged(getattr(holder, name), stage))
    start = time.perf_counter()
    environ = modules["__main__"].caller_environ()
    status: int = staged(modules["protocol"].main, "all the rest")(environ)
    spent["the whole call, without imports"] = time.perf_counter() - start
    with open(file, "a", encoding="utf-8") as out:
        out.write("\t".join(f"{stage}={seconds * 1e3:.4f}" for stage, seconds in spent.items()) + "\n")
    return status


os._exit(main())
