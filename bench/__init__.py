"""Side-by-side measurements: ``make bench``, or ``python -m bench --help``.

``harness.py`` holds the run (folder, source file, rounds in turn), ``servers.py`` what is measured, ``load.py`` the one
load generator that all of them face, ``procfs.py`` what the kernel tells of processes, ``report.py`` the page that is
written. Each module in ``measures/`` asks one question.
"""
