"""Published protocols for few labelled images: which are learned from, what is asked, and how it is averaged."""
