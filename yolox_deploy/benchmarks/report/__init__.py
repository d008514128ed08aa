"""Reports: storing, showing and comparing them."""
