"""Plugins: each translates one framework's way of saying things, and decides nothing."""
