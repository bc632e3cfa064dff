"""What a call may take, in things that can be counted: a guard that no load on the machine can mislead."""
