"""Features of frozen towers, computed once per content and stored."""
