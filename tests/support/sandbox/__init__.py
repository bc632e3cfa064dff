"""The second kind of node, in namespaces: facade and owners' directories, pods, calls, and what they leave."""
