"""Pages of one file for people who look: templates, style, keys, pictures and marked text that all of them share."""
