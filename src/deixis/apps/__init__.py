"""What users touch: thin, over the engine."""

__all__: list[str] = []
