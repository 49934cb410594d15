"""PDF pages: drawn as a viewer shows them, with the text that the picture shows."""
