"""Cards and publishing: what leaves this machine is listed, checked and uploaded in one commit."""
