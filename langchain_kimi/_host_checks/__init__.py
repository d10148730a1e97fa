"""Checks whether a host that serves Kimi models behaves as Kimi does, for `langchain-kimi verify-host`.

A group of checks is a list of requests and a function that judges their responses; neither sends anything. `run` has
all groups in their order, sends their requests and collects the results in a `Report`.
"""
