"""Drills: what the guard does on its worst day, measured against a broker in a process of its own.

    python -m bench.drills flood|restart|revocations|outage|killed|workers|fork|threads [--broker-url URL ...]
    python -m bench.drills malformed|forged|linear

Without a broker the twin is started; the second line's need none. Figures are printed. The first four judge nothing;
the others name their promises, and the exit status is 1 if one of them is broken.
"""
