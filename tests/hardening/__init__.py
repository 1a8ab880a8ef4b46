"""What must hold when somebody meddles: lost leases, damaged state, forged messages, secrets, bad configuration."""
