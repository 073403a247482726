"""Measure cometrep beside its peers: `python -m tests.bench [NAME...]`.

An installed wheel and each peer stand in virtual environments of their own; all of them talk to one fast server on
this machine. Runs are interleaved, and medians and ratios come from the same rounds.

To add a benchmark, write a module with `SENTENCE` and `tables(bench)`, and name it in `__main__`.
"""
