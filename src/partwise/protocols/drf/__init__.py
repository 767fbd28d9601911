"""drf-chunked-upload 0.6 (https://pypi.org/project/drf-chunked-upload/) over the engine, for its clients as they are.

Its chunks come one behind the other; here they may come in any order and at once, and again after a lost answer.
"""
