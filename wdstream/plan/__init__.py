"""The plan: order, lengths, packer, steps, state. numpy only."""
