"""State at rest: settings, the database, keys. Knows nothing of HTTP or vendors."""
