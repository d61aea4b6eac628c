"""Deciding who gets in: plain functions and frozen values, no I/O, no clock of its own.

Imports the standard library and cachetools only. Time, both monotonic and wall, is passed in.
"""
