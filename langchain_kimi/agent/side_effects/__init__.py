"""Tools that must not run twice: intents, what people know of a lost call, and keys of calls."""
