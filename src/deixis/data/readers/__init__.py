"""Reads a user's material, whatever form it has: folders, tables, shards, json annotations, Hugging Face data sets."""
