"""The benchmark: this engine, other stream processors and a roofline, over the same topics, one after the other."""
