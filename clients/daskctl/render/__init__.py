"""What the commands print: documents for programs, tables for people and pipes."""
