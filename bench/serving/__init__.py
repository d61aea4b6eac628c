"""Servers as processes, and a load generator in a process of its own."""
