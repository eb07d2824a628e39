"""Words: tokens, word classes and base forms, as NLTK gives them."""
