"""The protocols of `deixis eval`: a module each, or one for several that are alike."""
