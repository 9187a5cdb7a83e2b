"""The native core of online answers: stored values to answers without Python's objects in between.

It is C++, compiled where a compiler and Python's headers are. Where they are not, or where the core says that it cannot
read something, the Python path answers: the core only ever gives what that one would give, but sooner.
"""
