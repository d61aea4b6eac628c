"""Populations of agents that a cache is filled with, and what else the warm path might grow with."""
