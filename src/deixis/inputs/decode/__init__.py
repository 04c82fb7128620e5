"""How pixels of particular files are decoded: JPEG at speed, what is very large in bands, any mode as RGB, upright."""
