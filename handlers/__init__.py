"""Everything that comes in from people and clients; the only room that sees two other rooms at once."""
