"""Tars of samples as raw files: other webdatasets, of images, of rows, of PDFs, compressed or not."""
