"""The times of shared limits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of shared limits, in seconds."""

    window: float = 60.0
    margin: float = 1.0
    """How much longer one request may take to reach the host than another. It lengthens the window."""
    lease: float = 15.0
    """After this time without a report, a process counts as dead."""
    heartbeat: float = 5.0
    """The time between two reports of a process with requests in progress."""
    poll: float = 1.0
    """The longest time between two looks at the queue, if no wake-up arrives."""
    patience: float = 0.5
    """How long a place in the queue stays reserved for a process that was woken."""
    settle: float = 3.0
    """How long no request starts after Redis lost its data, so that all processes can report what they have sent."""
    retry: float = 1.0
    """The time between two attempts to reach a server that is away."""
    overload_pause: float = 5.0
    """The pause of all after an overload; it doubles with each further one."""
    longest_pause: float = 60.0

    def in_milliseconds(self) -> dict[str, int]:
        """The times for the script."""
        seconds = {
            "window": self.window + self.margin,
            "lease": self.lease,
            "patience": self.patience,
            "settle": self.settle,
            "overload_pause": self.overload_pause,
            "longest_pause": self.longest_pause,
            "expire": 3 * (self.window + self.margin + self.lease),
        }
        return {name: round(value * 1000) for name, value in seconds.items()}
