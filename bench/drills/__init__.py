"""Drills: what the guard does on its worst day, measured against a broker in a process of its own.

    python -m bench.drills flood|restart|revocations|outage [--broker-url URL --admin-secret SECRET]

Without a broker the twin is started. Figures are printed; nothing is judged.
"""
