"""What the data does: one module per data type. No I/O, no clock, no chance; imports nothing above itself."""
