"""What a method offers to a user, run over pictures: shared by the verbs of capabilities."""
