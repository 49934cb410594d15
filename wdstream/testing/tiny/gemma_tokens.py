"""Added tokens of Gemma's tokenizers that are plain text: runs of newlines and HTML tags, without the special flag."""

from wdstream.testing.tiny.tokenizer import AddedToken

LONGEST_NEWLINE_RUN = 31

NEWLINES = tuple(AddedToken("\n" * length, is_special=False) for length in range(1, LONGEST_NEWLINE_RUN + 1))
TAGS = tuple(AddedToken(tag, is_special=False) for tag in ("<table>", "</table>", "<tr>", "</tr>", "<td>", "</td>"))
