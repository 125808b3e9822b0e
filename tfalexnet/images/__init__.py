"""From any picture file to the array that weights expect."""
