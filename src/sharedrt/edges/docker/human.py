"""Durations in words, as ``docker ps`` shows them (go-units' HumanDuration)."""


def human_duration(duration_ns: int) -> str:
    """``5 seconds``, ``About a minute``, ``3 days`` ..."""
    seconds = max(duration_ns, 0) // 1_000_000_000
    if seconds < 1:
        return "Less than a second"
    if seconds == 1:
        return "1 second"
    if seconds < 60:
        return f"{seconds} seconds"
    minutes = seconds // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = (seconds + 1800) // 3600
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    for limit, divisor, unit in (
        (24 * 7 * 2, 24, "days"),
        (24 * 30 * 2, 24 * 7, "weeks"),
        (24 * 365 * 2, 24 * 30, "months"),
    ):
        if hours < limit:
            return f"{hours // divisor} {unit}"
    return f"{hours // (24 * 365)} years"
