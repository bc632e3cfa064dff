"""What runs for every pod: the CNI contract, the chain, the delegates and the records. Loads nothing else."""
