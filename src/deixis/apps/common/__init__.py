"""What several verbs share: options, console output, run folders, reading DATA, formatting of numbers."""
