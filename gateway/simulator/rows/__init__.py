"""The rows of the strictness table, a file for each provider or family."""
