"""The sections of a run, a module each: `run(effort)` gives a `Section`."""
