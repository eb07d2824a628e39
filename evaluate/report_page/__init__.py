"""The page that shows a result: pictures, captions before and after, and how sure the numbers are."""
