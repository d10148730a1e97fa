"""Limits of agents, the budget that agents share, and what they have used."""
