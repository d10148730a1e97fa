"""ChatKimi inside other people's frameworks, as they are."""
