"""Stand-ins for what the agents' real plugins talk to: Cilium's agent, Istio's node agent, the Kubernetes API.

They answer what the real ones answer (read off the real plugins' calls; a call that nobody has seen yet is recorded and
gets 404, not a guess), record every call as a line of JSON, and follow orders that may change while they run.
From a command line:

    python -m tests.support.stand_ins.cilium --calls FILE --orders FILE
    python -m tests.support.stand_ins.istio --calls FILE --orders FILE
    python -m tests.support.stand_ins.kubernetes --ambient mesh --calls FILE --orders FILE
"""
