"""What tools/label_truth.py is made of: words of texts, how they are matched, the OCR engine, one page, the report."""
