"""Our workloads timed against what people would use instead.

`rows.py` is the table: a row names a function of ours and one of a peer, which take the same
arguments and return a `Workload`. Those of a framework are in a module of its own, so that its
process pays for no library but its own: `ours`, `of_jax`, `of_torch`, and `commands`, whole
processes. `worker.py` runs one side, `pairs.py` checks and times both.
"""
