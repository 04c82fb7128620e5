"""Generated data: scenes of cut-outs with all annotations, and words as cameras see them."""
