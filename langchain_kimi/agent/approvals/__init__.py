"""Decisions of people about tool calls, and the questions that they answer."""
