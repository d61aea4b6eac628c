"""What the guard costs, and what it does on its worst day, in figures."""
