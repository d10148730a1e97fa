"""Agents and teams: a LangGraph graph around any chat model. It does not depend on the wire."""
