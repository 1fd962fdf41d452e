"""The kits for clients, and what generates them."""
