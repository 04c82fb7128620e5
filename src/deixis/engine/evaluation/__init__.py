"""Measures models: retrieval, saliency, calibration of search results."""
