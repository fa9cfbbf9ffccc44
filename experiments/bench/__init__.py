"""Our workloads timed against what people would use instead.

`experiment.py` is the experiment; a workload is a module for ours and one for each peer, run in
processes of their own by `worker.py`. Nothing is imported here: the process of a peer imports this
package too, and must pay for no library but its own.
"""
