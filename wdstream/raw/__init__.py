"""Raw pages: what is in a folder of PDFs, images and rows, read one page after the other. No torch."""
