"""Teams and sub-agents."""
