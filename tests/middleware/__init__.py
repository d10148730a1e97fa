"""Tests of the middleware for LangChain's agents."""
