"""Where data sets come from: package clients, archives, vector drawings."""
