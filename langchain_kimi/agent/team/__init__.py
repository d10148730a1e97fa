"""Teams, sub-agents, and what a member of a team reads of the others."""
