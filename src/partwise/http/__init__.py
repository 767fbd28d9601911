"""Code shared by all dialects: their interface, request bodies, header fields, forms, problems, downloads."""
