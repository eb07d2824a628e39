"""Scripts as forks of a process that has loaded their libraries, which takes longer than most of what they do in tests.

`scripts.py` is for tests; under a launcher `client.py` stands in for `python`; `server.py` is what is forked.
"""
