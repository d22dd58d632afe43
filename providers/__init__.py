"""Vendors: OpenAI's dialect inward, anything outward. Knows no client keys, limits or database."""
