"""What scripts leave behind: scores with intervals, written, printed and read again."""
