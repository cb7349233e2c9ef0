"""The only door to providers: HTTP/1.1 out, over our own transport or httpx's."""
