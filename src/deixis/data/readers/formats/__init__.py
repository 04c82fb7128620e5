"""One reader for each form that data sets come in; `recognise` chooses."""
