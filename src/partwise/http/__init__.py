"""What all dialects share: bodies of requests, header fields, forms, problems, downloads; and the seam itself."""
