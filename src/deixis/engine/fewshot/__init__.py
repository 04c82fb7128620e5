"""Classes learned from a few labelled images: draws, methods, published protocols and their averages."""
