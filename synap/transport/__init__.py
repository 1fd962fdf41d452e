"""How requests arrive: the command lane for the hot path, aiohttp for everything else, one dispatcher behind both."""
