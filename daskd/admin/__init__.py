"""What an administrator does beside the daemon: back up, restore, look what is wrong."""
