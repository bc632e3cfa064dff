"""Whether a pod is captured: the program's judgement beside real connections."""
