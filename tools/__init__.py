"""Programs that maintainers run by hand; see README.md."""
