"""Pictures one after the other, beside a csv that is filled in: labels, and drafts of captions."""
