"""How far an agent may go in one user turn."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """A budget for one user turn. At a limit the agent answers with what it has, instead of raising.

    `turns`: how often the model may ask for tools; one last answer without tools comes on top.
    """

    turns: int = 300

    def __post_init__(self) -> None:
        if self.turns < 1:
            raise ValueError(f"Limits(turns={self.turns}): at least 1.")
