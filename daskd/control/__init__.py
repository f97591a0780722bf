"""What keeps reality equal to the record."""
