"""Where samples come from: folders and tables, sets from package registries, what is checked and split before use."""
