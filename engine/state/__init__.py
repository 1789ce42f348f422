"""The accounts' state: keys, codec and the stores that apply journal records."""
