"""Routes of the server, by what a client wants: the page, the model, files."""
