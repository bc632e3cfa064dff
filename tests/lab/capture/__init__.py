"""How often a pod's judgement is wrong, in as many random states as are wanted."""
