"""The oracle: one account's records folded into outputs, naively, as ``docs/policy.md`` reads.

Nothing here comes from the compiled kernel, which is compared with it.
"""
