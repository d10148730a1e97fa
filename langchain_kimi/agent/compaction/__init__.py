"""Keeps a long thread under the model's window."""
