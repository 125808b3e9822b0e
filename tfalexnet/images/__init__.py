"""Pictures: decoding, preprocessing, folders and classes."""
