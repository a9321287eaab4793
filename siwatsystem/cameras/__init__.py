"""What operators do with cameras beside a worker: find them, look what they send, play one."""
