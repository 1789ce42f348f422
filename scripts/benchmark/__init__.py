"""The benchmark: this engine, an ordinary per-event Faust agent and a roofline, over the same topics, one after the other."""
