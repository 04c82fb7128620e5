"""Methods that papers are compared with or built on, in the same form as a paper's."""

__all__: list[str] = []
