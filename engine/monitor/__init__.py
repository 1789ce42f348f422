"""What the decisions of two periods say of drift and fairness: values in, values out, no I/O."""
