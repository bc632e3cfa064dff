"""A pod with a mesh's rules and a stand-in for its proxy, and real connections to compare a judgement with."""
