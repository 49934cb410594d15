"""From the characters of a PDF page to its text in reading order, and whether they mean what they say."""
