"""The experiment of `deixis adapt`: splits by concept, choice on validation, a verdict on what was held out."""
