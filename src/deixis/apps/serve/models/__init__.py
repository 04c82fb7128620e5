"""Models beside that of the index: what scores pairs again, and what names pixels."""
