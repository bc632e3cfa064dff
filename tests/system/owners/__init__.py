"""Other agents than Cilium and Istio, and these two in other company: what the chain becomes of what each writes."""
