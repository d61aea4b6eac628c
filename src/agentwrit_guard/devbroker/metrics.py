"""The broker's own metric families (contract section 5). Process and runtime families are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

_HELP = {
    "agentwrit_active_agents": ("gauge", "Number of currently active agents"),
    "agentwrit_admin_auth_total": ("counter", "Total number of admin authentication attempts"),
    "agentwrit_audit_events_loaded": ("gauge", "Number of audit events loaded from SQLite at startup"),
    "agentwrit_audit_events_total": ("counter", "Total number of audit events"),
    "agentwrit_audit_write_duration_seconds": ("histogram", "Time to write an audit event to SQLite"),
    "agentwrit_clock_skew_total": ("counter", "Number of clock skew events detected"),
    "agentwrit_db_errors_total": ("counter", "Total number of database errors"),
    "agentwrit_launch_tokens_created_total": ("counter", "Total number of launch tokens created"),
    "agentwrit_registrations_total": ("counter", "Total number of agent registrations"),
    "agentwrit_tokens_issued_total": ("counter", "Total number of tokens issued"),
    "agentwrit_tokens_revoked_total": ("counter", "Total number of tokens revoked"),
}
_ALWAYS = ("agentwrit_clock_skew_total", "agentwrit_launch_tokens_created_total")
_WRITES = "agentwrit_audit_write_duration_seconds"


class Metrics:
    """Counters by name and label; a labelled one appears on first use. Label names are the twin's own guess."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, label: str = "", value: str = "") -> None:
        """Add one to `name`, or to its series `{label="value"}`; values are from closed sets."""
        self._counts[name, f'{{{label}="{value}"}}' if label else ""] += 1

    def text(self, *, agents: int, written: Mapping[str, int], loaded: int) -> str:
        """The exposition text. `written` are audit events by type; the three figures live in the state, not here."""
        series = dict(self._counts)
        events = sum(written.values())
        for event_type, count in written.items():
            series["agentwrit_audit_events_total", f'{{event_type="{event_type}"}}'] = count
        for name in _ALWAYS:
            series.setdefault((name, ""), 0)
        series["agentwrit_active_agents", ""] = agents
        series["agentwrit_audit_events_loaded", ""] = loaded
        lines: list[str] = []
        for name, (kind, text) in sorted(_HELP.items()):
            values = sorted((labels, value) for (family, labels), value in series.items() if family == name)
            if not values and name != _WRITES:
                continue
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{labels} {value}" for labels, value in values]
            if name == _WRITES:
                # Writes go to memory: all of them take no time.
                bounds = ("0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "+Inf")
                lines += [f'{name}_bucket{{le="{bound}"}} {events}' for bound in bounds]
                lines += [f"{name}_sum 0", f"{name}_count {events}"]
        return "\n".join(lines) + "\n"
