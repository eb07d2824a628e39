"""The text side: templates, tokenizers, and rows of token ids with an image inside."""
